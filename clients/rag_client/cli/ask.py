"""`rag ask`, `rag search` and `rag plan`: questions to the papers."""

from typing import TYPE_CHECKING, Any

import click

from rag_client import deadlines
from rag_client.cli import evidence
from rag_client.cli.command import Command
from rag_client.cli.options import cache_options, config_options, filter_options, retrieval_options, with_query_client
from rag_client.cli.output import emit, fields
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
    explain: bool,
    **request: Any,
) -> None:
    """Answer a question from the papers, with citations."""
    response = client.ask(query, **request)
    emit(response, evidence.answer(response, explain=explain), as_json=as_json)
    _tell_parts(response)


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
