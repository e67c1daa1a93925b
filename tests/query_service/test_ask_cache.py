"""What the caches contribute, and when they must not."""

from collections.abc import Callable

import pytest

from rag_papers.persist.sqlite_store import CacheTable
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service

QUESTION = "What is transfer learning?"
OF_THE_ANSWER = sorted(set(pb.AskResponse.DESCRIPTOR.fields_by_name) - {"cache", "trace_id", "timings_ms"})


def same(first: pb.AskResponse, second: pb.AskResponse) -> bool:
    """Whether two responses agree in all that does not belong to the call."""
    return all(getattr(first, name) == getattr(second, name) for name in OF_THE_ANSWER)


def test_second_ask_is_a_hit_and_equal(library: Service) -> None:
    first, second = library.ask(QUESTION), library.ask(QUESTION)
    assert not first.cache.answer_hit
    assert not first.cache.retrieval_hit
    assert first.cache.age_ms == 0
    assert first.cache.embed_misses > 1
    assert second.cache.answer_hit
    assert not second.cache.retrieval_hit
    assert (second.cache.embed_hits, second.cache.embed_misses) == (0, 0)
    assert same(first, second)
    assert list(second.timings_ms) == ["total"]
    assert first.trace_id != second.trace_id


def test_abstention_is_cached_too(library: Service) -> None:
    first, second = (library.ask("Which volcano erupted in Iceland?") for _ in range(2))
    assert second.cache.answer_hit
    assert second.status == pb.ANSWER_STATUS_ABSTAINED
    assert same(first, second)


def test_each_cache_answers_when_those_above_it_are_empty(library: Service) -> None:
    first = library.ask(QUESTION)
    library.purge("answers")
    second = library.ask(QUESTION)
    assert not second.cache.answer_hit
    assert second.cache.retrieval_hit
    assert (second.cache.embed_hits, second.cache.embed_misses) == (first.cache.embed_misses, 0)
    assert same(first, second)
    library.purge("answers", "retrieval")
    third = library.ask(QUESTION)
    assert not third.cache.retrieval_hit
    assert third.cache.age_ms == 0
    assert (third.cache.embed_hits, third.cache.embed_misses) == (first.cache.embed_misses, 0)
    library.purge("all")
    fourth = library.ask(QUESTION)
    assert (fourth.cache.embed_hits, fourth.cache.embed_misses) == (0, first.cache.embed_misses)
    assert same(first, fourth)


def test_without_cache_every_table_stays_as_it_is(library: Service) -> None:
    assert library.ask(QUESTION, use_cache=False).cache.embed_misses > 1
    assert library.search(QUESTION, use_cache=False).sources
    assert set(library.counts().values()) == {0}
    cached = library.ask(QUESTION)
    before = library.counts()
    response = library.ask(QUESTION, use_cache=False)
    assert not response.cache.answer_hit
    assert not response.cache.retrieval_hit
    assert response.cache.embed_hits == 0
    assert library.counts() == before
    assert same(cached, response)


def test_refresh_computes_anew_and_replaces(library: Service) -> None:
    first = library.ask(QUESTION)
    before = library.counts()
    stored = library.stub.GetCacheStats(pb.GetCacheStatsRequest()).tables
    response = library.ask(QUESTION, refresh=True)
    assert not response.cache.answer_hit
    assert not response.cache.retrieval_hit
    assert (response.cache.embed_hits, response.cache.embed_misses) == (0, first.cache.embed_misses)
    assert library.counts() == before
    replaced = library.stub.GetCacheStats(pb.GetCacheStatsRequest()).tables
    for table in ("answers", "retrieval", "embeddings"):
        assert replaced[table].oldest_time.ToNanoseconds() > stored[table].newest_time.ToNanoseconds()
    assert library.ask(QUESTION).cache.answer_hit


def test_search_has_the_same_caches(library: Service) -> None:
    first, second = library.search(QUESTION), library.search(QUESTION)
    assert (first.cache.retrieval_hit, first.cache.embed_misses) == (False, 1)
    assert (second.cache.retrieval_hit, second.cache.embed_misses, second.cache.embed_hits) == (True, 0, 0)
    assert first.sources == second.sources
    refreshed = library.search(QUESTION, refresh=True)
    assert (refreshed.cache.retrieval_hit, refreshed.cache.embed_misses) == (False, 1)
    library.purge("retrieval")
    assert library.search(QUESTION).cache.embed_hits == 1


def test_ask_reuses_the_ranking_of_a_search_with_the_same_settings(library: Service) -> None:
    library.search(QUESTION, top_k=12)
    assert library.ask(QUESTION).cache.retrieval_hit


@pytest.mark.parametrize(
    "again",
    [
        "  What \t is\ntransfer   learning?  ",
        "What is\0 transfer\x1f learning?\x07",
    ],
)
def test_white_space_and_control_characters_make_no_difference(library: Service, again: str) -> None:
    library.ask(QUESTION)
    assert library.ask(again).cache.answer_hit


def test_composed_and_decomposed_spellings_are_one_question(library: Service) -> None:
    first = library.ask("What is a caf\u00e9?")
    second = library.ask("What is a cafe\u0301?")
    assert second.cache.answer_hit
    assert same(first, second)


def test_an_intent_that_is_given_and_the_same_detected_are_one(library: Service) -> None:
    library.ask(QUESTION)
    assert library.ask(QUESTION, intent="definition").cache.answer_hit
    assert not library.ask(QUESTION, intent="explanation").cache.answer_hit


def test_defaults_that_are_given_and_left_out_are_one(library: Service) -> None:
    first = library.ask(QUESTION)
    assert library.ask(QUESTION, config=first.config).cache.answer_hit


@pytest.mark.parametrize("field", [field.name for field in pb.AskConfig.DESCRIPTOR.fields if field.name != "generator"])
def test_every_setting_is_part_of_the_key(library: Service, field: str) -> None:
    config = library.ask(QUESTION).config
    other = "none" if field == "reranker" else 0 if getattr(config, field) == 1 else 1
    changed = pb.AskConfig(**{field: other})
    assert not library.ask(QUESTION, config=changed).cache.answer_hit


def test_the_same_version_in_two_corpora_shares_its_answers(library: Service) -> None:
    library.ask(QUESTION, corpus="library")
    library.publish("copy", LIBRARY)
    response = library.ask(QUESTION, corpus="copy")
    assert response.cache.answer_hit
    assert response.corpus == "copy"


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff" * 100, b"\x08\x01"])
def test_a_damaged_answer_is_a_miss(library: Service, junk: bytes) -> None:
    first = library.ask(QUESTION)
    library.rewrite(CacheTable.ANSWERS, junk)
    second = library.ask(QUESTION)
    assert not second.cache.answer_hit
    assert same(first, second)
    assert library.ask(QUESTION).cache.answer_hit


@pytest.mark.parametrize(
    "junk",
    [b"", b"junk", b"{}", b"[[1]]", b"[[10000, 1.0, 1.0, 1.0]]", b"[[-1, 1.0, 1.0, 1.0]]", b'[["0", 1.0, 1.0, 1.0]]',
     b"[[0, NaN, 1.0, 1.0]]", b"[[0, 1.0, 1.0, null]]"],
)  # fmt: skip
def test_a_ranking_that_cannot_be_one_is_a_miss(library: Service, junk: bytes) -> None:
    first = library.search(QUESTION)
    library.rewrite(CacheTable.RETRIEVAL, junk)
    second = library.search(QUESTION)
    assert not second.cache.retrieval_hit
    assert second.sources == first.sources
    assert library.search(QUESTION).cache.retrieval_hit


def test_a_damaged_vector_is_a_miss(library: Service) -> None:
    first = library.ask(QUESTION)
    library.rewrite(CacheTable.EMBEDDINGS, b"short")
    library.purge("answers", "retrieval")
    second = library.ask(QUESTION)
    assert (second.cache.embed_hits, second.cache.embed_misses) == (0, first.cache.embed_misses)
    assert same(first, second)


def test_answers_outlive_the_service(serve: Callable[..., Service]) -> None:
    first = serve()
    first.publish("library", LIBRARY)
    before = first.ask(QUESTION)
    after = serve().ask(QUESTION)
    assert after.cache.answer_hit
    assert same(before, after)


def test_stats_purge_and_vacuum(library: Service) -> None:
    empty = library.stub.GetCacheStats(pb.GetCacheStatsRequest())
    assert set(empty.tables) == {"embeddings", "retrieval", "answers", "sessions"}
    assert not empty.tables["answers"].HasField("oldest_time")
    library.ask(QUESTION)
    stats = library.stub.GetCacheStats(pb.GetCacheStatsRequest())
    assert stats.database_path == str(library.paths.cache_db)
    assert stats.file_bytes > 0
    table = stats.tables["answers"]
    assert (table.count, table.total_bytes > 100) == (1, True)
    assert 0 < table.oldest_time.seconds == table.newest_time.seconds
    assert library.purge("answers", "sessions") == {"answers": 1, "sessions": 0}
    assert library.counts()["retrieval"] == 1
    assert set(library.purge("all")) == {"embeddings", "retrieval", "answers", "sessions"}
    assert set(library.counts().values()) == {0}
    vacuumed = library.stub.VacuumCache(pb.VacuumCacheRequest())
    assert 0 < vacuumed.bytes_after <= vacuumed.bytes_before
    assert library.ask(QUESTION).accepted
