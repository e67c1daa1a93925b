"""The statistics of the caches as people read them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag_client.cli.output import table
from rag_client.cli.text import clean, duration, moment, size

if TYPE_CHECKING:
    from rag_papers.v1.query_pb2 import CacheTableStats, GetCacheStatsResponse

_BAR = 20  # characters


def stats_lines(response: "GetCacheStatsResponse") -> Iterator[str]:
    """Two tables: what is there, and what it is good for."""
    tables = sorted(response.tables.items())
    yield f"Cache Statistics: {clean(response.database_path)}"
    yield ""
    yield from _framed(
        ("Table", "Count", "Size", "Oldest", "Newest"),
        [
            (clean(name), str(it.count), size(it.total_bytes), moment(it.oldest_time), moment(it.newest_time))
            for name, it in tables
        ],
        ("TOTAL", str(sum(it.count for _, it in tables)), size(sum(it.total_bytes for _, it in tables)), "", ""),
        right=("Count", "Size"),
    )
    yield ""
    hits = sum(it.counters.hits for _, it in tables)
    misses = sum(it.counters.misses for _, it in tables)
    yield from _framed(
        ("Table", "Limit", "Full", "Kept for", "Last used", "Evicted", "Expired", "Hits", "Misses", "Hit rate"),
        [(clean(name), *_bounds(it), *_use(it)) for name, it in tables],
        ("TOTAL", "", "", "", "", "", "", str(hits), str(misses), _rate(hits, misses)),
        right=("Limit", "Full", "Evicted", "Expired", "Hits", "Misses"),
    )
    yield ""
    yield f"Database on disk: {size(response.file_bytes)}"


def _bounds(it: "CacheTableStats") -> tuple[str, str, str]:
    limited = it.HasField("limit_bytes")
    full = f"{it.total_bytes / it.limit_bytes:.0%}" if limited and it.limit_bytes else "-"
    kept = duration(it.ttl.ToMilliseconds()) if it.HasField("ttl") else "-"
    return size(it.limit_bytes) if limited else "-", full, kept


def _use(it: "CacheTableStats") -> tuple[str, ...]:
    counters = it.counters
    numbers = (counters.evictions, counters.expired, counters.hits, counters.misses)
    return moment(it.oldest_access_time), *map(str, numbers), _rate(counters.hits, counters.misses)


def _rate(hits: int, misses: int) -> str:
    """The share of hits, as a bar too."""
    if not hits + misses:
        return "-"
    rate = hits / (hits + misses)
    filled = round(rate * _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {rate:.1%}"


def _framed(
    header: tuple[str, ...], rows: list[tuple[str, ...]], total: tuple[str, ...], right: tuple[str, ...]
) -> Iterator[str]:
    first, *body = table(header, [*rows, total], right=right)
    rule = "=" * max(map(len, [first, *body]))
    yield from (first, rule, *body[:-1], rule, body[-1])
