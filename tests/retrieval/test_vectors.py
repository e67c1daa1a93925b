import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.quantization import quantize
from rag_papers.retrieval.vectors import VectorSearch

from .vectors import clustered


def search_of(rows: npt.NDArray[np.float32]) -> VectorSearch:
    return VectorSearch(rows, quantize(rows))


def one_by_one(rows: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> list[float]:
    """The canonical cosine of each row, by Python's own numbers."""
    cosines = []
    for row in rows.tolist():
        sums = [one * other for one, other in zip(row, query.tolist(), strict=True)]
        while len(sums) > 1:
            half = (len(sums) + 1) // 2
            sums = [
                place + sums[half + number] if half + number < len(sums) else place
                for number, place in enumerate(sums[:half])
            ]
        cosines.append(min(1.0, max(-1.0, sums[0])))
    return cosines


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 400), st.integers(0, 99), st.data())
def test_a_canonical_cosine_depends_on_its_row_and_the_query_alone(
    count: int, dim: int, seed: int, data: st.DataObject
) -> None:
    rows, query = clustered(count, dim, seed), clustered(1, dim, seed + 100)[0]
    expected = one_by_one(rows, query)
    some = data.draw(st.lists(st.integers(0, count - 1), max_size=2 * count))
    found = search_of(rows).canonical(query, np.array(some, np.int64))
    assert found.tolist() == [expected[position] for position in some]


def test_a_canonical_cosine_is_the_same_in_every_block_and_order() -> None:
    rows, query = clustered(20_000, 96, 0), clustered(1, 96, 1)[0]
    search = search_of(rows)
    whole = search.canonical(query, np.arange(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))
    assert search.canonical(query, order).tobytes() == whole[order].tobytes()
    assert whole[:50].tolist() == one_by_one(rows[:50], query)
    for position in order[:50]:
        assert search.canonical(query, np.array([position])).tobytes() == whole[position].tobytes()


def test_a_canonical_cosine_is_true_to_far_more_digits_than_a_float_has() -> None:
    rows, query = clustered(50, 384, 0), clustered(1, 384, 1)[0]
    for row, cosine in zip(rows, search_of(rows).canonical(query, np.arange(50)), strict=True):
        true = sum(Fraction(one) * Fraction(other) for one, other in zip(row.tolist(), query.tolist(), strict=True))
        assert abs(Fraction(float(cosine)) - true) < 1e-15


@pytest.mark.parametrize("dim", [1, 64, 384, 1025])
@pytest.mark.parametrize("some", [3, 300, 3000])
def test_rough_cosines_are_true_to_the_margin(dim: int, some: int) -> None:
    rows, query = clustered(3000, dim, 0), clustered(1, dim, 1)[0]
    positions = np.sort(np.random.default_rng(0).permutation(3000)[:some])
    search = search_of(rows)
    canonical = search.canonical(query, positions)
    rough = search.rough(query, positions)
    assert np.abs(rough - canonical).max() <= search.margin / 4  # it is a bound and no estimate
    assert search.margin < 1e-3


def test_concurrent_queries_each_get_their_own_cosines() -> None:
    rows, queries = clustered(5000, 64, 0), clustered(64, 64, 1)
    search = search_of(rows)
    everybody = threading.Barrier(8)

    def ask(part: int) -> list[tuple[npt.NDArray[np.float32], float]]:
        everybody.wait(60)
        return [search.coarse(query) for query in queries[part::8]]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    for number, query in enumerate(queries):
        coarse, margin = answers[number % 8][number // 8]
        assert np.abs(coarse - search.canonical(query, np.arange(5000))).max() <= margin
