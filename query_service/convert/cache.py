"""Between the messages of cache administration and what the service works with."""

import dataclasses
from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration

from query_service.answering import Ask
from query_service.caches import OF_A_CORPUS, Purge
from query_service.config import Defaults
from query_service.convert import common
from query_service.warming import Warmed
from rag_papers.errors import InvalidRequest
from rag_papers.persist.sqlite_store import CacheTable, Counters, Purged, SqliteStore, TableStats
from rag_papers.rpc.times import timestamp
from rag_papers.v1 import query_pb2

_ALL = "all"
_MOST_QUERIES = 10_000
_MOST_DAYS = 36_500
_DAYS = 7.0
_MOST_VIOLATIONS = 20
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


def warm(
    request: query_pb2.WarmCacheRequest, queries: Iterable[str], max_query_chars: int, defaults: Defaults
) -> list[Ask]:
    """The questions of a valid WarmCacheRequest, each once. Raises InvalidRequest that names what is wrong."""
    asks: dict[str, Ask] = {}
    wrong: dict[str, str] = {}
    for number, query in enumerate(queries):
        message = query_pb2.AskRequest(query=query, corpus=request.corpus, config=request.config)
        try:
            ask = common.ask(message, max_query_chars, defaults)
            asks.setdefault(ask.query, ask)
        except InvalidRequest as error:
            found = {
                f"queries[{number}]" if field == "query" else field: why for field, why in error.violations.items()
            }
            wrong |= found
            if len(wrong) >= _MOST_VIOLATIONS:
                break
    if wrong:
        raise InvalidRequest(violations=wrong)
    return list(asks.values())


def warm_days(request: query_pb2.WarmCacheRequest) -> float:
    """Checks all of a WarmCacheRequest but the questions; the days that count. Raises InvalidRequest."""
    wrong: dict[str, str] = {}
    days = request.days if request.HasField("days") else _DAYS
    if not request.queries and not request.most_frequent:
        wrong["queries"] = "is empty, and most_frequent is 0: there is nothing to ask"
    if len(request.queries) > _MOST_QUERIES:
        wrong["queries"] = f"has {len(request.queries):,} entries; at most {_MOST_QUERIES:,} are allowed"
    if not 0 <= request.most_frequent <= _MOST_QUERIES:
        wrong["most_frequent"] = f"is {request.most_frequent}; must be from 0 to {_MOST_QUERIES:,}"
    if not 0 < days <= _MOST_DAYS:
        wrong["days"] = f"is {days:g}; must be more than 0 and at most {_MOST_DAYS:,}"
    if wrong:
        raise InvalidRequest(violations=wrong)
    return days


def warm_response(warmed: Warmed) -> query_pb2.WarmCacheResponse:
    """How far a warming has come."""
    return query_pb2.WarmCacheResponse(
        total=warmed.total,
        stored=warmed.stored,
        revalidated=warmed.revalidated,
        generated=warmed.generated,
        failed=warmed.failed,
        query=warmed.query,
        failure=warmed.failure.message if warmed.failure else "",
    )


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
