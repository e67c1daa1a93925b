import dataclasses
import math
from typing import Any

import pytest

from rag_papers.persist.answer_cache import AnswerCache, AnswerKey
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.filtering import Filter

CONFIG: dict[str, bool | int | float | str] = {"top_k_first": 12, "temperature": 0.2, "strict": True, "generator": "x"}
KEY = AnswerKey(
    query="what is attention",
    intent="definition",
    corpus_id="0123",
    filter=Filter(document_ids=("a.txt", "b.txt")),
    approximate=False,
    config=CONFIG,
    generator="x-1",
    reranker="r-1",
    pipeline="p-1",
    history=("What is attention?",),
)


@pytest.fixture
def cache(store: SqliteStore) -> AnswerCache:
    return AnswerCache(store)


def test_an_answer_comes_back_byte_for_byte(cache: AnswerCache, store: SqliteStore) -> None:
    answer = bytes(range(256))
    assert cache.get(KEY) is None
    cache.put(KEY, answer)
    found = cache.get(KEY)
    assert found is not None and found.value == answer
    assert found.created == store.stats()[CacheTable.ANSWERS].newest


def test_an_answer_is_replaced(cache: AnswerCache) -> None:
    cache.put(KEY, b"old")
    cache.put(KEY, b"new")
    found = cache.get(KEY)
    assert found is not None and found.value == b"new"


@pytest.mark.parametrize(
    "change",
    [
        {"query": "what is attention?"},
        {"intent": "unknown"},
        {"corpus_id": "0124"},
        {"filter": Filter()},
        {"filter": Filter(document_ids=("a.txt",))},
        {"filter": Filter(path_prefixes=("a.txt", "b.txt"))},
        {"approximate": True},
        {"generator": "x-2"},
        {"reranker": "r-2"},
        {"pipeline": "p-2"},
        {"history": ()},
        {"history": ("What is dropout?",)},
        {"config": CONFIG | {"top_k_first": 13}},
        {"config": CONFIG | {"top_k_first": 12.0}},
        {"config": CONFIG | {"strict": 1}},
        {"config": CONFIG | {"temperature": math.nextafter(0.2, 1)}},
        {"config": CONFIG | {"seed": 0}},
        {"config": {name: value for name, value in CONFIG.items() if name != "strict"}},
    ],
    ids=str,
)
def test_another_value_of_any_part_of_the_key_misses(cache: AnswerCache, change: dict[str, Any]) -> None:
    cache.put(KEY, b"answer")
    assert cache.get(dataclasses.replace(KEY, **change)) is None


def test_every_part_of_the_key_has_its_test() -> None:
    parts = {field.name for field in dataclasses.fields(AnswerKey)}
    assert parts == {
        "query", "intent", "corpus_id", "filter", "approximate", "config", "generator", "reranker", "pipeline",
        "history",
    }  # fmt: skip


def test_the_order_of_the_settings_does_not_matter(cache: AnswerCache) -> None:
    cache.put(KEY, b"answer")
    assert cache.get(dataclasses.replace(KEY, config=dict(reversed(CONFIG.items())))) is not None


def test_order_and_repeats_of_a_filter_do_not_matter(cache: AnswerCache) -> None:
    cache.put(KEY, b"answer")
    assert cache.get(dataclasses.replace(KEY, filter=Filter(document_ids=("b.txt", "a.txt", "b.txt")))) is not None


def test_parts_do_not_run_into_each_other() -> None:
    one = dataclasses.replace(KEY, query="ab", intent="c")
    other = dataclasses.replace(KEY, query="a", intent="bc")
    assert one.digest() != other.digest()


def test_a_setting_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no place in a key"):
        dataclasses.replace(KEY, config=CONFIG | {"temperature": math.nan}).digest()
