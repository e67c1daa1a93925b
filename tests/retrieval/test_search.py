import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.encoders import HashingEncoder
from rag_papers.retrieval.quantization import quantize
from rag_papers.retrieval.search import search
from rag_papers.retrieval.vectors import VectorSearch

TEXTS = [
    "Attention is all you need.",
    "Dropout prevents overfitting of neural networks.",
    "The transformer uses attention and no recurrence.",
    "Adam is a method for stochastic optimisation.",
]
ENCODER = HashingEncoder(64)


@dataclasses.dataclass
class Index:
    bm25: Bm25
    vector_search: VectorSearch


@pytest.fixture(scope="module")
def index() -> Index:
    rows = ENCODER.encode(TEXTS)
    return Index(Bm25(fit([terms(text) for text in TEXTS]), len(TEXTS)), VectorSearch(rows, quantize(rows)))


def vector_of(query: str) -> npt.NDArray[np.float32]:
    return np.asarray(ENCODER.encode([query])[0])


def test_both_sides_count(index: Index) -> None:
    found = search(
        index, "transformer attention", vector_of("overfitting"), bm25_weight=0.5, vector_weight=0.5, top_k=4
    )
    assert {candidate.position for candidate in found[:2]} == {1, 2}
    assert len(found) == 4


def test_without_a_weight_the_vector_is_not_needed(index: Index) -> None:
    query = "attention"
    without = search(index, query, None, bm25_weight=1, vector_weight=0, top_k=4)
    assert without == search(index, query, vector_of("dropout"), bm25_weight=1, vector_weight=0.0, top_k=4)
    assert {candidate.position for candidate in without} == {0, 2}
    assert all(candidate.vector == 0 for candidate in without)


def test_without_a_weight_the_words_do_not_count(index: Index) -> None:
    vector = vector_of("stochastic optimisation")
    found = search(index, "attention", vector, bm25_weight=0, vector_weight=1, top_k=4)
    assert found == search(index, "", vector, bm25_weight=0.0, vector_weight=1, top_k=4)
    assert found[0].position == 3
    assert all(candidate.bm25 == 0 for candidate in found)


def test_cosines_stay_within_their_bounds(index: Index) -> None:
    for text in TEXTS:
        for candidate in search(index, "", vector_of(text), bm25_weight=0, vector_weight=1, top_k=4):
            assert -1 <= candidate.vector <= 1


def test_a_query_that_matches_nothing_finds_nothing_without_vectors(index: Index) -> None:
    assert search(index, "zebra", None, bm25_weight=1, vector_weight=0, top_k=4) == []
