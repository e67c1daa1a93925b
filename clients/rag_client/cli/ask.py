"""`rag ask`, `rag search` and `rag plan`: questions to the papers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag_client import deadlines
from rag_client.cli import evidence, live, session
from rag_client.cli.command import Command
from rag_client.cli.exits import give_hint
from rag_client.cli.options import cache_options, config_options, filter_options, retrieval_options, with_query_client
from rag_client.cli.output import emit, fields, print_json
from rag_client.cli.text import clean

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_papers.v1.query_pb2 import AskResponse, SearchResponse

_intent_option = click.option(
    "--intent",
    default="",
    metavar="INTENT",
    help="definition, explanation, comparison, how_to, summarization or unknown; default: detected.",
)


@click.command(cls=Command)
@click.argument("query", metavar="QUESTION")
@_intent_option
@click.option(
    "--session", "session_id", default="", metavar="ID", help='Ask as a turn of this session; "-": a new one.'
)
@click.option("--save", is_flag=True, help="Also write the session, or this question alone, to runs/session_TIME/.")
@click.option("--stream", is_flag=True, help="With --json: print what happens meanwhile too, one message a line.")
@click.option("--explain", is_flag=True, help="Also say which steps ran and how long each took.")
@with_query_client(deadline=deadlines.ASK)
@cache_options
@filter_options
@config_options
def ask(
    client: "QueryClient",
    as_json: bool,
    query: str,
    *,
    save: bool,
    stream: bool,
    explain: bool,
    **request: Any,
) -> None:
    """Answer a question from the papers, with citations.

    A terminal shows the answer as it comes.
    """
    if stream and not as_json:
        raise click.UsageError("--stream goes with --json")
    if stream:
        for message in client.ask_stream(query, **request):
            print_json(message)
        response = message.done
    else:
        response = _asked(client, query, as_json, request)
        emit(response, evidence.answer(response, explain=explain), as_json=as_json)
    _tell_parts(response)
    if request["session_id"] == "-":
        give_hint(f'go on with: rag ask --session {clean(response.session_id)} "..."')
    if save:
        click.echo(f"saved to {_saved(client, query, response)}", err=True)


def _asked(client: "QueryClient", query: str, as_json: bool, request: dict[str, Any]) -> "AskResponse":
    """The response; shown as it comes if somebody watches."""
    if not as_json and sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        if not console.is_dumb_terminal:
            return live.follow(client.ask_stream(query, **request), console)
    return client.ask(query, **request)


def _saved(client: "QueryClient", query: str, response: "AskResponse") -> Path:
    """The file that the session of a question, or the question alone, was written to."""
    from rag_papers.v1.query_pb2 import Turn

    if response.session_id:
        return session.save(client.export_session(response.session_id))
    turn = Turn(number=1, query=query, response=response)
    turn.create_time.GetCurrentTime()
    return session.save([turn])


@click.command(cls=Command)
@click.argument("query", metavar="QUERY")
@with_query_client()
@cache_options
@filter_options
@retrieval_options
def search(client: "QueryClient", as_json: bool, query: str, **request: Any) -> None:
    """Find the passages that have most to do with a query."""
    response = client.search(query, **request)
    emit(response, evidence.passages(response), as_json=as_json)
    _tell_parts(response)


def _tell_parts(response: "AskResponse | SearchResponse") -> None:
    if response.query_parts > 1:
        click.echo(
            f"note: this is longer than the embedding model's window; what was searched with is the mean of its "
            f"{response.query_parts} parts",
            err=True,
        )


@click.command(cls=Command)
@click.argument("query", metavar="QUESTION")
@_intent_option
@with_query_client()
def plan(client: "QueryClient", as_json: bool, query: str, intent: str) -> None:
    """Show what asking a question would do."""
    response = client.plan(query, intent=intent)
    config = [
        (f"  {field.name}", f"{value:g}" if isinstance(value, float) else clean(str(value)))
        for field, value in response.config.ListFields()
    ]
    lines = fields(
        [
            ("Intent", clean(response.intent) + (" (detected)" if response.intent_detected else "")),
            ("Steps", " > ".join(map(clean, response.steps))),
            *config,
        ],
        indent="",
    )
    emit(response, lines, as_json=as_json)
