"""GetCacheStats, PurgeCache and VacuumCache of a running service."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused, violations

QUESTION = "What is transfer learning?"


def stats(service: Service) -> Any:
    return service.stub.GetCacheStats(pb.GetCacheStatsRequest()).tables


def purge(service: Service, *tables: str, **which: Any) -> dict[str, int]:
    response = service.stub.PurgeCache(pb.PurgeCacheRequest(tables=tables, **which))
    assert {name for name, count in response.purged.items() if count} == {
        name for name, size in response.purged_bytes.items() if size
    }
    return dict(response.purged)


def test_stats_tell_of_limits_and_use(library: Service) -> None:
    for _ in range(3):
        library.ask(QUESTION)
    tables = stats(library)
    answers = tables["answers"]
    assert (answers.counters.hits, answers.counters.misses, answers.counters.puts) == (2, 1, 1)
    assert answers.counters == answers.process_counters
    assert (answers.limit_bytes, answers.ttl.ToSeconds()) == (256 << 20, 30 * 86400)
    assert answers.oldest_time.ToNanoseconds() <= answers.oldest_access_time.ToNanoseconds()
    assert tables["embeddings"].limit_bytes == 1 << 30
    assert not tables["embeddings"].HasField("ttl")
    assert not tables["sessions"].HasField("limit_bytes")


def test_a_purge_of_a_corpus_leaves_the_others_alone(library: Service) -> None:
    """The versions of a corpus, also those that do not answer any more."""
    corpus_id = library.publish("other", LIBRARY)
    library.ask(QUESTION, corpus="other")
    newer = library.publish("other", LIBRARY | {"new.txt": "Quantum annealing is a technique for optimization."})
    library.ask(QUESTION, corpus="other")
    mine = library.publish("mine", {"mine.txt": LIBRARY["transfer.txt"]})
    library.ask(QUESTION, corpus="mine")
    before = library.counts()
    assert before["answers"] == 3
    tried = purge(library, "all", corpus="other", dry_run=True)
    assert tried == {"answers": 2, "retrieval": 2}
    assert library.counts() == before
    assert purge(library, "answers", corpus_id=corpus_id) == {"answers": 1}
    assert purge(library, "all", corpus="other") == {"answers": 1, "retrieval": 2}
    assert library.counts() == before | {"answers": 1, "retrieval": 1}
    assert library.ask(QUESTION, corpus="mine").cache.answer_hit
    assert purge(library, "retrieval", corpus_id=mine) == {"retrieval": 1}
    assert purge(library, "all", corpus_id=newer) == {"answers": 0, "retrieval": 0}


def test_a_purge_by_age_leaves_what_is_younger(library: Service) -> None:
    library.ask(QUESTION)
    before = library.counts()
    assert set(purge(library, "all", older_than=Duration(seconds=3600)).values()) == {0}
    assert library.counts() == before
    assert purge(library, "answers", older_than=Duration()) == {"answers": 1}


@pytest.mark.parametrize(
    ("which", "fields"),
    [
        ({"tables": ["embeddings"], "corpus": "library"}, {"tables"}),
        ({"tables": ["answers", "sessions"], "corpus_id": "0123456789abcdef"}, {"tables"}),
        ({"tables": ["answers"], "corpus": "a", "corpus_id": "b"}, {"corpus_id"}),
        ({"tables": ["answers"], "older_than": Duration(seconds=-1)}, {"older_than"}),
        ({"tables": [], "older_than": Duration(nanos=-1), "corpus": "a", "corpus_id": "b"},
         {"tables", "older_than", "corpus_id"}),
    ],
)  # fmt: skip
def test_what_contradicts_itself_purges_nothing(library: Service, which: dict[str, Any], fields: set[str]) -> None:
    library.ask(QUESTION)
    before = library.counts()
    assert set(violations(lambda: library.stub.PurgeCache(pb.PurgeCacheRequest(**which)))) == fields
    assert library.counts() == before


def test_a_corpus_that_is_not_there(library: Service) -> None:
    code, error = refused(lambda: purge(library, "answers", corpus="nothing"))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CORPUS_NOT_FOUND")


@pytest.mark.parametrize("call", [lambda s: s.ask(QUESTION), lambda s: s.search(QUESTION)], ids=["ask", "search"])
def test_another_process_sees_a_purge_at_once(
    library: Service, serve: Callable[..., Service], call: Callable[[Service], Any]
) -> None:
    other = serve()
    for service in (library, other, library, other):
        response = call(service)
    assert response.cache.answer_hit or response.cache.retrieval_hit
    library.purge("all")
    response = call(other)
    assert not response.cache.answer_hit
    assert not response.cache.retrieval_hit
