import dataclasses

import numpy as np
import pytest
from xxhash import xxh3_64_intdigest

from rag_papers.retrieval import bm25
from rag_papers.retrieval.bm25 import Bm25, fit


def scores(corpus: list[list[str]], *query: str) -> list[float]:
    return [float(score) for score in Bm25(fit(corpus), len(corpus)).scores(query)]


def test_the_only_passage_is_found() -> None:
    [score] = scores([["attention", "need"]], "attention")
    assert score > 0


def test_a_term_of_every_passage_still_finds_them() -> None:
    assert all(score > 0 for score in scores([["model"], ["model", "data"], ["model"]], "model"))


def test_a_term_of_half_of_the_passages_still_finds_them() -> None:
    first, second = scores([["model"], ["data"]], "model")
    assert first > 0 == second


def test_a_rarer_term_weighs_more() -> None:
    corpus = [["common", "rare"], ["common", "x"], ["common", "y"], ["z"], ["w"]]
    assert scores(corpus, "rare")[0] > scores(corpus, "common")[0]


def test_a_repeated_query_term_counts_each_time() -> None:
    corpus = [["a1"], ["b1"], ["c1"]]
    assert scores(corpus, "a1", "a1")[0] == pytest.approx(2 * scores(corpus, "a1")[0])


def test_unknown_terms_and_empty_queries_find_nothing() -> None:
    assert scores([["a1"], ["b1"]], "zz", "", "a", "a11") == [0, 0]
    assert scores([["a1"], ["b1"]]) == [0, 0]


@pytest.mark.parametrize("corpus", [[], [[]], [[], []], [[], ["a1"], []]])
def test_passages_may_be_empty(corpus: list[list[str]]) -> None:
    assert [score > 0 for score in scores(corpus, "a1")] == [bool(passage) for passage in corpus]


def test_terms_that_begin_alike_are_told_apart() -> None:
    corpus = [["a"], ["aa"], ["aaa"], ["ab"], ["b"], ["é"], ["深"], ["深度"], ["\U00020000"], ["\ud800"]]
    for position, [term] in enumerate(corpus):
        assert [score > 0 for score in scores(corpus, term)] == [other == position for other in range(len(corpus))]


def test_the_arrays_are_those_of_the_format() -> None:
    postings = fit([["b", "a", "b"], ["a"], []])
    ordered = sorted((xxh3_64_intdigest(term), term) for term in (b"a", b"b"))
    assert postings.hashes.tolist() == [number for number, _ in ordered]
    assert postings.terms.tobytes() == b"".join(term for _, term in ordered)
    assert postings.term_offsets.tolist() == [0, 1, 2]
    runs = {b"a": [0, 1], b"b": [0]}
    assert postings.passages.tolist() == [passage for _, term in ordered for passage in runs[term]]
    assert postings.offsets.tolist() == [0, len(runs[ordered[0][1]]), 3]
    types = {field.name: str(getattr(postings, field.name).dtype) for field in dataclasses.fields(postings)}
    assert types == {
        "hashes": "uint64",
        "terms": "uint8",
        "term_offsets": "int64",
        "offsets": "int64",
        "passages": "int32",
        "scores": "float32",
    }


def test_chunks_of_any_size_give_the_same_postings(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    corpus = [[f"t{number}" for number in random.integers(0, 9, length)] for length in random.integers(0, 8, 60)]
    whole = fit(corpus)
    for size in (1, 7, 50):
        monkeypatch.setattr(bm25, "_CHUNK_TOKENS", size)
        parts = fit(corpus)
        for field in dataclasses.fields(whole):
            np.testing.assert_array_equal(getattr(whole, field.name), getattr(parts, field.name))


def test_terms_of_equal_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "_hash", lambda data: 7)
    corpus = [["a"], ["b"], ["c"]]
    for position, [term] in enumerate(corpus):
        assert [score > 0 for score in scores(corpus, term)] == [other == position for other in range(3)]
    assert scores(corpus, "d") == [0, 0, 0]


def test_no_passage_exceeds_the_bound_of_a_query_of_rare_terms() -> None:
    corpus = [["rare"] * 50, ["other", "rare"], *([str(number)] for number in range(20))]
    index = Bm25(fit(corpus), len(corpus))
    assert 0 < index.scores(["rare", "other"]).max() < index.bound(["rare", "other"])


def test_the_order_of_first_use_does_not_matter() -> None:
    one, other = fit([["a", "b"], ["c"]]), fit([["b", "a"], ["c"]])
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_progress_is_told_now_and_then() -> None:
    told: list[int] = []
    fit((["a"] for _ in range(3000)), told.append)
    assert told == [1024, 2048]
