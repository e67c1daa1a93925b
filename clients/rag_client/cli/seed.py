"""The short spellings: rag-serve, rag-ingest --dir D, rag-ask "Q", rag-cache --stats or --purge TABLES."""

from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli.ask import ask
from rag_client.cli.cache import freed, purged_lines, show_stats
from rag_client.cli.command import Command
from rag_client.cli.ingest import run
from rag_client.cli.options import with_ingest_client, with_query_client
from rag_client.cli.output import emit
from rag_client.cli.serve import serve

if TYPE_CHECKING:
    from rag_client import IngestClient, QueryClient

__all__ = ["ask", "cache", "ingest", "serve"]


@click.command(cls=Command)
@click.option("--dir", "directory", required=True, metavar="DIR", help="The papers.")
@click.option("--model", default="", metavar="NAME", help="Embedding model; default: the service's.")
@click.option("--no-cache", is_flag=True, help="Embed and build everything anew.")
@with_ingest_client()
def ingest(client: "IngestClient", as_json: bool, directory: str, model: str, no_cache: bool) -> None:
    """Turn a directory of papers into an index, and show the progress."""
    run(client, as_json, directory, model=model, no_cache=no_cache)


@click.command(cls=Command)
@click.option("--stats", is_flag=True, help="Show size and age of every table.")
@click.option("--purge", metavar="TABLES", help="Empty these tables, separated by commas, or all of them: all.")
@with_query_client(deadline=deadlines.VACUUM)
def cache(client: "QueryClient", as_json: bool, stats: bool, purge: str | None) -> None:
    """Look into the caches, or empty them and give the space back."""
    if stats == (purge is not None):
        raise click.UsageError("either --stats or --purge TABLES")
    if purge is None:
        show_stats(client, as_json)
        return
    purged = client.purge_cache([table.strip() for table in purge.split(",")])
    emit(purged, purged_lines(purged, "deleted"), as_json=as_json)
    click.echo(freed(client.vacuum_cache()), err=as_json)
