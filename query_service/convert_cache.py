"""Between the messages of cache administration and what the service works with."""

import dataclasses
from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from query_service.caches import OF_A_CORPUS, Purge
from rag_papers.errors import InvalidRequest
from rag_papers.persist.sqlite_store import CacheTable, Counters, Purged, SqliteStore, TableStats
from rag_papers.rpc.times import timestamp
from rag_papers.v1 import query_pb2

_ALL = "all"
_LONGEST_SECONDS = 3e11  # a Duration holds a little more


def purge(request: query_pb2.PurgeCacheRequest) -> Purge:
    """A PurgeCacheRequest. Raises InvalidRequest."""
    wrong: dict[str, str] = {}
    of_a_corpus = bool(request.corpus or request.corpus_id)
    if request.corpus and request.corpus_id:
        wrong["corpus_id"] = "excludes corpus"
    older_than = None
    if request.HasField("older_than"):
        older_than = request.older_than.seconds + request.older_than.nanos / 1e9
        if older_than < 0:
            wrong["older_than"] = f"is {older_than:g} s; must not be negative"
    tables = _tables(request, of_a_corpus, wrong)
    if wrong:
        raise InvalidRequest(violations=wrong)
    return Purge(
        tables=tables,
        corpus=request.corpus,
        corpus_id=request.corpus_id,
        older_than=older_than,
        dry_run=request.dry_run,
    )


def _tables(request: query_pb2.PurgeCacheRequest, of_a_corpus: bool, wrong: dict[str, str]) -> list[CacheTable]:
    possible = OF_A_CORPUS if of_a_corpus else tuple(CacheTable)
    unknown = [name for name in request.tables if name not in (*CacheTable, _ALL)]
    others = [name for name in request.tables if name in tuple(CacheTable) and name not in possible]
    what = ""
    if unknown or not request.tables:
        what = f"has {', '.join(repr(name[:40]) for name in unknown[:5])}" if unknown else "is empty"
    elif others:
        what = f"has {', '.join(others)}, of which no entry belongs to a corpus"
    if what:
        wrong["tables"] = f"{what}; name at least one of: {', '.join((*possible, _ALL))}"
        return []
    return list(possible) if _ALL in request.tables else [CacheTable(name) for name in request.tables]


def purge_response(purged: Mapping[CacheTable, Purged]) -> query_pb2.PurgeCacheResponse:
    """The response to PurgeCache."""
    return query_pb2.PurgeCacheResponse(
        purged={table.value: what.count for table, what in purged.items()},
        purged_bytes={table.value: what.total_bytes for table, what in purged.items()},
    )


def stats_response(store: SqliteStore) -> query_pb2.GetCacheStatsResponse:
    """The response to GetCacheStats: what `store` holds now."""
    return query_pb2.GetCacheStatsResponse(
        tables={table.value: _table(facts) for table, facts in store.stats().items()},
        database_path=str(store.path),
        file_bytes=store.file_bytes(),
    )


def _table(facts: TableStats) -> query_pb2.CacheTableStats:
    return query_pb2.CacheTableStats(
        count=facts.count,
        total_bytes=facts.total_bytes,
        oldest_time=timestamp(facts.oldest),
        newest_time=timestamp(facts.newest),
        oldest_access_time=timestamp(facts.oldest_access),
        limit_bytes=facts.limits.max_bytes,
        ttl=None if facts.limits.ttl_seconds is None else _duration(facts.limits.ttl_seconds),
        counters=_counters(facts.counters),
        process_counters=_counters(facts.process),
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromMilliseconds(round(min(seconds, _LONGEST_SECONDS) * 1000))
    return message


def _counters(counters: Counters) -> query_pb2.CacheCounters:
    return query_pb2.CacheCounters(**dataclasses.asdict(counters))
