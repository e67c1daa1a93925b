"""`rag cache`: what the caches hold, and how they are emptied."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

import click

from rag_client import deadlines
from rag_client.cli.cacheview import stats_lines
from rag_client.cli.command import Group
from rag_client.cli.exits import ExitCode, complain
from rag_client.cli.options import AGE, with_query_client
from rag_client.cli.output import emit
from rag_client.cli.progress import on_stderr
from rag_client.cli.text import clean, counted, shorten, size

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_papers.v1.query_pb2 import PurgeCacheResponse, VacuumCacheResponse, WarmCacheResponse


@click.group(cls=Group)
def cache() -> None:
    """Look into the caches and empty them."""


@cache.command()
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: the pause.",
)
@with_query_client()
def stats(client: "QueryClient", as_json: bool, watch: bool, interval: float) -> None:
    """Show size, age and use of every table."""
    if watch:
        watch_stats(client, as_json, interval)
    else:
        show_stats(client, as_json)


@cache.command()
@click.argument("tables", nargs=-1, required=True)
@click.option("--corpus", default="", metavar="NAME", help="Only what was made from this corpus.")
@click.option("--corpus-id", default="", metavar="ID", help="Only what was made from this version of a corpus.")
@click.option("--older-than", type=AGE, metavar="AGE", help="Only what is older: 90s, 30m, 12h or 7d.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, and say what would be.")
@with_query_client(deadline=deadlines.VACUUM)
def purge(
    client: "QueryClient",
    as_json: bool,
    tables: tuple[str, ...],
    corpus: str,
    corpus_id: str,
    older_than: timedelta | None,
    dry_run: bool,
) -> None:
    """Delete entries of TABLES: embeddings, retrieval, answers, sessions, or all."""
    response = client.purge_cache(tables, corpus=corpus, corpus_id=corpus_id, older_than=older_than, dry_run=dry_run)
    emit(response, purged_lines(response, "would be deleted" if dry_run else "deleted"), as_json=as_json)


@cache.command()
@click.argument("file", type=click.File(encoding="utf-8"), required=False)
@click.option("--frequent", type=click.IntRange(0), default=0, metavar="N", help="So many of those asked often.")
@click.option(
    "--days", type=float, default=7.0, show_default=True, metavar="D", help="Over how many days to count them."
)
@click.option("--corpus", default="", metavar="NAME", help="The corpus to answer from.")
@with_query_client(deadline=deadlines.WARM)
def warm(client: "QueryClient", as_json: bool, file: TextIO | None, frequent: int, days: float, corpus: str) -> None:
    """Ask the questions of FILE ahead, one a line, and store the answers; - is stdin."""
    queries = [line.strip() for line in file if line.strip()] if file else []
    if not queries and not frequent:
        raise click.UsageError("there is nothing to ask: name a FILE of questions, or --frequent N")
    failed = 0
    with on_stderr() as show:
        for response in client.warm_cache(queries, most_frequent=frequent, days=days, corpus=corpus):
            done = response.stored + response.revalidated + response.generated + response.failed
            share = done / response.total if response.total else 1.0
            show("warming", share, f"{done}/{counted(response.total, 'question', 'questions')}")
            if response.failure:
                complain(f"{shorten(response.query, 60)}: {response.failure}")
            failed = response.failed
            if as_json:
                emit(response, (), as_json=True)
    if not as_json:
        emit(response, [warmed(response)], as_json=False)
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


@cache.command()
@with_query_client(deadline=deadlines.VACUUM)
def vacuum(client: "QueryClient", as_json: bool) -> None:
    """Give the space of deleted entries back to the file system."""
    response = client.vacuum_cache()
    emit(response, [freed(response)], as_json=as_json)


def show_stats(client: "QueryClient", as_json: bool) -> None:
    """Prints the statistics."""
    response = client.cache_stats()
    emit(response, stats_lines(response), as_json=as_json)


def watch_stats(client: "QueryClient", as_json: bool, interval: float) -> None:
    """Prints the statistics again and again; on a terminal in place."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if as_json or not console.is_terminal or console.is_dumb_terminal:
        while True:
            show_stats(client, as_json)
            time.sleep(interval)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Text("\n".join(stats_lines(client.cache_stats())), no_wrap=True), refresh=True)
            time.sleep(interval)


def warmed(response: "WarmCacheResponse") -> str:
    """What a warming came to."""
    questions = counted(response.total, "question", "questions")
    return (
        f"{questions}: {response.stored} stored already, {response.revalidated} with the text of an earlier version, "
        f"{response.generated} answered, {response.failed} failed"
    )


def freed(response: "VacuumCacheResponse") -> str:
    """What a vacuum gave back."""
    before, after = response.bytes_before, response.bytes_after
    return f"freed {size(max(0, before - after))}: {size(before)} before, {size(after)} after"


def purged_lines(response: "PurgeCacheResponse", what: str) -> Iterator[str]:
    """How much a purge took."""
    for name, count in sorted(response.purged.items()):
        freed = f", {size(response.purged_bytes[name])}" if count else ""
        yield f"{clean(name)}: {counted(count, 'entry', 'entries')} {what}{freed}"
