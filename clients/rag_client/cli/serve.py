"""`rag serve`: both services, run and supervised as child processes."""

import importlib.util
import json
import sys
from collections.abc import Mapping

import click

from rag_client import deadlines
from rag_client.cli.command import Command
from rag_client.cli.exits import ExitCode, complain
from rag_client.cli.options import timeout_option
from rag_client.cli.supervisor import End, Supervisor

_SERVICES = {"IngestService": "ingest_service", "QueryService": "query_service"}

# The services' own code comes with every install; what it needs comes with the extra alone.
_NEEDED = (*_SERVICES.values(), "grpc_reflection", "numpy")

_MARGIN_SECONDS = 5.0
"""How much longer than its drain a service may take to end."""

_EXIT_CODES = {
    End.STOPPED: ExitCode.DONE,
    End.NEVER_READY: ExitCode.INTERRUPTED,
    End.REFUSED: ExitCode.USAGE,
    End.FAILED: ExitCode.FAILED,
    End.KILLED: ExitCode.INTERRUPTED,
}


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--data-dir", metavar="DIR", help="Where indexes, jobs and caches live.")
@click.option("--ingest-address", metavar="HOST:PORT", help="Where IngestService listens; port 0 picks a free one.")
@click.option("--query-address", metavar="HOST:PORT", help="Where QueryService listens; port 0 picks a free one.")
@click.option(
    "--drain-seconds",
    type=float,
    default=10.0,
    metavar="SECONDS",
    show_default=True,
    envvar="RAG_DRAIN_SECONDS",
    show_envvar=True,
    help="How long calls in flight may take once the services stop.",
)
@timeout_option(120.0, "Longest that the services may take to be ready.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON.")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def serve(
    data_dir: str | None,
    ingest_address: str | None,
    query_address: str | None,
    drain_seconds: float,
    timeout: float,
    as_json: bool,
    settings: tuple[str, ...],
) -> None:
    """Run both services until Ctrl-C.

    Any other setting of the services is passed on to both as a flag, such as --max-workers 4;
    python -m ingest_service --help lists them.
    """
    if not 0 <= drain_seconds <= deadlines.LONGEST:
        raise click.BadParameter(f"{drain_seconds:g} is not a number of seconds", param_hint="--drain-seconds")
    if any(importlib.util.find_spec(module) is None for module in _NEEDED):
        complain('the services are not installed: pip install "rag-papers[server]"')
        raise click.exceptions.Exit(ExitCode.FAILED)
    named = {
        "--data-dir": data_dir,
        "--ingest-address": ingest_address,
        "--query-address": query_address,
        "--drain-seconds": str(drain_seconds),
    }
    flags = [part for flag, value in named.items() if value for part in (flag, value)]
    # -P: a directory called like a service, where this happens to run, is not the service.
    commands = {name: (sys.executable, "-P", "-m", module, *flags, *settings) for name, module in _SERVICES.items()}
    supervisor = Supervisor(
        commands,
        ready_seconds=deadlines.checked(timeout),
        stop_seconds=drain_seconds + _MARGIN_SECONDS,
        on_ready=_announce_json if as_json else _announce,
    )
    raise click.exceptions.Exit(_EXIT_CODES[supervisor.run()])


def _announce(addresses: Mapping[str, str]) -> None:
    # In one piece: `rag serve | head -1` has its line, and the services are not stopped by a second one.
    click.echo("\n".join([*(f"{name:<14} {address}" for name, address in addresses.items()), "ready; Ctrl-C stops"]))


def _announce_json(addresses: Mapping[str, str]) -> None:
    click.echo(json.dumps({"ingest_address": addresses["IngestService"], "query_address": addresses["QueryService"]}))
