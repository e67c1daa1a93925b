"""`rag doctor`: whether both services are well, and what to do where they are not."""

import dataclasses
import json

import click

from rag_client.cli.command import Command
from rag_client.cli.diagnosis import Check, Grade, diagnose
from rag_client.cli.exits import ExitCode
from rag_client.cli.options import address_option, json_option, quieten_grpc
from rag_client.cli.text import clean

_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}
_NAME_WIDTH = 15


@click.command(cls=Command)
@click.option("--verify", is_flag=True, help="Also read every file of the versions that corpora answer from.")
@address_option("ingest", "IngestService", "ingest_address")
@address_option("query", "QueryService", "query_address")
@json_option
def doctor(verify: bool, ingest_address: str | None, query_address: str | None, as_json: bool) -> None:
    """Check both services, their versions, disk, models and corpora; say what to do where something is wrong.

    Ends with 1 if there is a problem; a warning is none.
    """
    quieten_grpc()
    from rag_client import IngestClient, QueryClient

    checks = []
    with IngestClient(ingest_address) as ingest, QueryClient(query_address) as query:
        for check in diagnose(ingest, query, verify=verify):
            checks.append(check)
            if not as_json:
                _show(check)
    well = all(check.grade is not Grade.PROBLEM for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": well, "checks": [dataclasses.asdict(check) for check in checks]}))
    if not well:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _show(check: Check) -> None:
    grade = click.style(f"{check.grade:<8}", fg=_COLOURS[check.grade], bold=check.grade is not Grade.OK)
    click.echo(f"{grade} {clean(check.name):<{_NAME_WIDTH}} {clean(check.message)}")
    if check.hint:
        click.echo(f"{'':<8} {'':<{_NAME_WIDTH}} {click.style('hint:', fg='cyan')} {clean(check.hint)}")
