"""BM25 against rank_bm25, whose model it freezes."""

import math
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from rag_papers.retrieval.bm25 import Bm25, fit

TERMS = [f"t{number}" for number in range(12)] + ["深度", "café", "a", "aa", "z", "\ud800"]
# Few corpora of equally frequent terms are interesting: let some terms be rare.
term = st.sampled_from(TERMS) | st.sampled_from(TERMS[:3])


def is_decided(corpus: list[list[str]]) -> bool:
    """Whether the terms' mean idf is not 0 but for rounding: its sign depends on the order of sums then."""
    return abs(BM25Okapi(corpus).average_idf) > 1e-9


corpora = st.lists(st.lists(term, max_size=12), min_size=1, max_size=25).filter(any)
decided = corpora.filter(is_decided)
bounded = settings(deadline=None, max_examples=150)


@bounded
@given(decided, st.lists(term, max_size=8))
def test_scores_agree_wherever_the_librarys_idf_is_positive(corpus: list[list[str]], query: list[str]) -> None:
    reference = BM25Okapi(corpus)
    ours = Bm25(fit(corpus), len(corpus))
    query = [word for word in query if reference.idf.get(word, 1.0) > 0]
    np.testing.assert_allclose(ours.scores(query), reference.get_scores(query), rtol=0, atol=1e-4)
    for word, idf in reference.idf.items():
        if idf > 0:
            np.testing.assert_allclose(ours.scores([word]), reference.get_scores([word]), rtol=0, atol=1e-4)


@bounded
@given(corpora, st.lists(term, max_size=8), st.floats(0, 2), st.data())
def test_some_scores_are_those_of_all_and_a_delta_adds_to_every_match(
    corpus: list[list[str]], query: list[str], delta: float, data: st.DataObject
) -> None:
    ours = Bm25(fit(corpus), len(corpus))
    plain = ours.scores(query)
    some = np.array(data.draw(st.lists(st.integers(0, len(corpus) - 1), max_size=30)), np.int64)
    assert ours.scores_at(query, some).tobytes() == plain[some].tobytes()
    for position, passage in enumerate(corpus):
        added = delta * sum(ours.idf(word) for word in query if word in passage)
        assert math.isclose(ours.scores(query, delta=delta)[position], plain[position] + added, rel_tol=1e-5)


@bounded
@given(corpora)
def test_a_passage_that_matches_always_scores_and_no_other_does(corpus: list[list[str]]) -> None:
    ours = Bm25(fit(corpus), len(corpus))
    for word in TERMS:
        assert [score > 0 for score in ours.scores([word])] == [word in passage for passage in corpus]


@bounded
@given(decided)
def test_where_it_is_not_the_smaller_of_two_positive_ones_takes_its_place(corpus: list[list[str]]) -> None:
    reference = BM25Okapi(corpus)
    ours = Bm25(fit(corpus), len(corpus))
    count, lengths = len(corpus), [len(passage) for passage in corpus]
    frequencies = Counter(word for passage in corpus for word in set(passage))
    least = min((idf for idf in reference.idf.values() if idf > 0), default=math.inf)
    for word, library_idf in reference.idf.items():
        if library_idf > 0:
            continue
        floor = math.log(1 + (count - frequencies[word] + 0.5) / (frequencies[word] + 0.5))
        for position, passage in enumerate(corpus):
            f = passage.count(word)
            norm = 1.5 * (1 - 0.75 + 0.75 * lengths[position] / (sum(lengths) / count))
            expected = min(floor, least) * f * 2.5 / (f + norm)
            assert math.isclose(ours.scores([word])[position], expected, rel_tol=1e-4, abs_tol=1e-6)


@bounded
@given(corpora)
def test_an_idf_is_positive_and_falls_with_the_frequency(corpus: list[list[str]]) -> None:
    ours = Bm25(fit(corpus), len(corpus))
    frequency = Counter(word for passage in corpus for word in set(passage))
    ranked = sorted(TERMS, key=lambda word: frequency[word])
    values = [ours.idf(word) for word in ranked]
    assert all(value > 0 for value in values)
    assert values == sorted(values, reverse=True)
