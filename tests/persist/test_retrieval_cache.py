import dataclasses
import json
from typing import Any

import pytest

from rag_papers.persist.retrieval_cache import RetrievalCache, RetrievalKey
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.fusion import Candidate

FILTER = Filter(document_ids=("a.txt", "b.txt"), path_prefixes=("2015/",))
KEY = RetrievalKey(
    query="what is café",
    corpus_id="0123",
    filter=FILTER,
    top_k=12,
    bm25_weight=0.5,
    vector_weight=0.5,
    approximate=False,
)
RANKING = [Candidate(7, 1.0, 12.345678901234567, 0.1 + 0.2), Candidate(0, 1 / 3, 0.0, -1.0), Candidate(10**9, 0, 0, 0)]


@pytest.fixture
def cache(store: SqliteStore) -> RetrievalCache:
    return RetrievalCache(store)


def test_a_ranking_comes_back_exactly_with_its_time(cache: RetrievalCache, store: SqliteStore) -> None:
    cache.put(KEY, RANKING, 3)
    found = cache.get(KEY)
    assert found is not None
    assert (found.candidates, found.query_parts) == (RANKING, 3)
    assert found.created == store.stats()[CacheTable.RETRIEVAL].newest


def test_an_empty_ranking_is_a_ranking(cache: RetrievalCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, [], 0)
    found = cache.get(KEY)
    assert found is not None and found.candidates == []


def test_a_ranking_is_replaced(cache: RetrievalCache) -> None:
    cache.put(KEY, RANKING, 1)
    cache.put(KEY, RANKING[:1], 1)
    found = cache.get(KEY)
    assert found is not None and found.candidates == RANKING[:1]


@pytest.mark.parametrize(
    "change",
    [
        {"query": "What is café"},
        {"corpus_id": "0124"},
        {"filter": Filter()},
        {"filter": Filter(document_ids=("a.txt",), path_prefixes=("2015/",))},
        {"filter": Filter(document_ids=("2015/",), path_prefixes=("a.txt", "b.txt"))},
        {"top_k": 13},
        {"bm25_weight": 0.6},
        {"vector_weight": 0.0},
        {"approximate": True},
    ],
    ids=str,
)
def test_another_value_of_any_part_of_the_key_misses(cache: RetrievalCache, change: dict[str, Any]) -> None:
    cache.put(KEY, RANKING, 1)
    assert cache.get(dataclasses.replace(KEY, **change)) is None


def test_every_part_of_the_key_has_its_test() -> None:
    parts = {field.name for field in dataclasses.fields(RetrievalKey)}
    assert parts == {"query", "corpus_id", "filter", "top_k", "bm25_weight", "vector_weight", "approximate"}


def test_composed_and_decomposed_queries_are_one(cache: RetrievalCache) -> None:
    cache.put(KEY, RANKING, 1)
    assert cache.get(dataclasses.replace(KEY, query="what is cafe\u0301")) is not None


def test_order_repeats_and_spelling_of_a_filter_do_not_matter(cache: RetrievalCache) -> None:
    cache.put(dataclasses.replace(KEY, filter=Filter(path_prefixes=("caf\u00e9/", "a/"))), RANKING, 1)
    same = Filter(path_prefixes=("a/", "cafe\u0301/", "a/"))
    assert cache.get(dataclasses.replace(KEY, filter=same)) is not None


def test_what_is_stored_is_text(cache: RetrievalCache, store: SqliteStore) -> None:
    cache.put(KEY, RANKING, 1)
    entry = store.get(CacheTable.RETRIEVAL, KEY.digest())
    assert entry is not None and json.loads(entry.value) == [1, [list(candidate) for candidate in RANKING]]
