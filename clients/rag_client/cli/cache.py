"""`rag cache`: what the caches hold, and how they are emptied."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli.command import Group
from rag_client.cli.options import with_query_client
from rag_client.cli.output import emit, table
from rag_client.cli.text import clean, counted, moment, size

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_papers.v1.query_pb2 import GetCacheStatsResponse, VacuumCacheResponse


@click.group(cls=Group)
def cache() -> None:
    """Look into the caches and empty them."""


@cache.command()
@with_query_client()
def stats(client: "QueryClient", as_json: bool) -> None:
    """Show size and age of every table."""
    show_stats(client, as_json)


@cache.command()
@click.argument("tables", nargs=-1, required=True)
@with_query_client()
def purge(client: "QueryClient", as_json: bool, tables: tuple[str, ...]) -> None:
    """Delete all entries of TABLES: embeddings, retrieval, answers, sessions, or all."""
    show_purged(client, as_json, tables)


@cache.command()
@with_query_client(deadline=deadlines.VACUUM)
def vacuum(client: "QueryClient", as_json: bool) -> None:
    """Give the space of deleted entries back to the file system."""
    response = client.vacuum_cache()
    emit(response, [freed(response)], as_json=as_json)


def show_stats(client: "QueryClient", as_json: bool) -> None:
    """Prints the statistics."""
    response = client.cache_stats()
    emit(response, _stats_lines(response), as_json=as_json)


def show_purged(client: "QueryClient", as_json: bool, tables: tuple[str, ...]) -> None:
    """Purges, and prints how much."""
    from rag_papers.v1.query_pb2 import PurgeCacheResponse

    purged = client.purge_cache(tables)
    emit(PurgeCacheResponse(purged=purged), _purged_lines(purged), as_json=as_json)


def freed(response: "VacuumCacheResponse") -> str:
    """What a vacuum gave back."""
    before, after = response.bytes_before, response.bytes_after
    return f"freed {size(max(0, before - after))}: {size(before)} before, {size(after)} after"


def _purged_lines(purged: Mapping[str, int]) -> Iterator[str]:
    for name, count in sorted(purged.items()):
        yield f"{clean(name)}: {counted(count, 'entry', 'entries')} deleted"


def _stats_lines(response: "GetCacheStatsResponse") -> Iterator[str]:
    yield f"Cache Statistics: {clean(response.database_path)}"
    yield ""
    rows = [
        (clean(name), str(stats.count), size(stats.total_bytes), moment(stats.oldest_time), moment(stats.newest_time))
        for name, stats in sorted(response.tables.items())
    ]
    everything = response.tables.values()
    total = (
        "TOTAL",
        str(sum(stats.count for stats in everything)),
        size(sum(stats.total_bytes for stats in everything)),
        "",
        "",
    )
    header, *body = table(("Table", "Count", "Size", "Oldest", "Newest"), [*rows, total], right=("Count", "Size"))
    rule = "=" * max(map(len, [header, *body]))
    yield from (header, rule, *body[:-1], rule, body[-1])
    yield ""
    yield f"Database on disk: {size(response.file_bytes)}"
