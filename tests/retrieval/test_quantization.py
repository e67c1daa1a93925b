import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.quantization import QuantizedSearch, quantize

from .vectors import clustered

Rows = npt.NDArray[np.float32]


def exact(rows: Rows, query: Rows) -> npt.NDArray[np.float64]:
    return rows.astype(np.float64) @ query.astype(np.float64)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 200), st.sampled_from([1, 2, 7, 64, 384, 1025]), st.integers(0, 999), st.integers(1, 9))
def test_every_cosine_is_true_to_the_margin(count: int, dim: int, seed: int, asked: int) -> None:
    rows, queries = clustered(count, dim, seed), clustered(asked, dim, seed + 1)
    for query, (cosines, margin) in zip(queries, QuantizedSearch(quantize(rows)).cosines(list(queries)), strict=True):
        assert cosines.shape == (count,)
        assert np.abs(cosines - exact(rows, query)).max() <= margin


@pytest.mark.parametrize(
    "rows",
    [
        np.eye(64, dtype=np.float32),  # all of a row in one number
        np.full((3, 64), 1 / 8, np.float32),
        np.array([[1e-20] * 63 + [1.0]], np.float32),
        np.tile(np.array([0.5, 0.5 / 127 / 2] * 32, np.float32) / 2.83, (4, 1)),  # halfway between two codes
        np.zeros((2, 64), np.float32),
    ],
)
def test_rows_that_are_hard_to_round(rows: Rows) -> None:
    query = clustered(1, 64, 3)[0]
    for asked in (query, rows[0], -rows[-1]):
        ((cosines, margin),) = QuantizedSearch(quantize(rows)).cosines([asked])
        assert np.abs(cosines - exact(rows, asked)).max() <= margin


def test_the_margin_is_small_enough_to_be_of_use() -> None:
    rows, query = clustered(5000, 384, 0), clustered(1, 384, 1)[0]
    ((_, margin),) = QuantizedSearch(quantize(rows)).cosines([query])
    assert margin < 0.05


def test_one_query_and_many_give_the_same() -> None:
    rows, queries = clustered(5000, 96, 0), list(clustered(9, 96, 1))
    search = QuantizedSearch(quantize(rows))
    for query, (together, margin) in zip(queries, search.cosines(queries), strict=True):
        ((alone, alone_margin),) = search.cosines([query])
        np.testing.assert_array_equal(alone, together)
        assert alone_margin == margin


def test_codes_are_those_of_the_row_alone() -> None:
    rows = clustered(300, 48, 0)
    together = quantize(rows)
    for number in (0, 17, 299):
        alone = quantize(rows[number : number + 1])
        assert alone.codes.tobytes() == together.codes[number].tobytes()
        assert alone.scales[0] == together.scales[number]


def test_the_codes_are_those_of_every_machine() -> None:
    """Of numbers that every processor draws alike."""
    rows = np.random.default_rng(0).integers(-999, 1000, (500, 32)).astype(np.float32) / np.float32(999)
    quantized = quantize(rows)
    digest = hashlib.sha256(quantized.codes.tobytes() + quantized.scales.tobytes()).hexdigest()
    assert digest == "e6553bf9ef947f1287cad6f7b2ba39ed1f5e4159b243f781ec3638061137f907"


def test_no_rows() -> None:
    ((cosines, _),) = QuantizedSearch(quantize(np.empty((0, 8), np.float32))).cosines([np.ones(8, np.float32)])
    assert cosines.shape == (0,)
