"""Cosines of a query with the passages: coarse ones of all at once, rough ones of many, canonical ones of a few."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.batching import Gatherer
from rag_papers.retrieval.graph import Graph
from rag_papers.retrieval.quantization import Quantized, QuantizedSearch

_MOST_BYTES = 64 << 20  # scores that one product of several queries may hold
_BLOCK = 4096  # rows that are copied at a time

Rows = npt.NDArray[np.float32]


class VectorSearch:
    """The vectors of an index, searchable. Safe to use from several threads."""

    def __init__(self, rows: Rows, quantized: Quantized) -> None:
        """`rows` (n, dim) are L2-normalised, and `quantized` is made of them."""
        self._rows = rows
        self._graph: Graph | None = None
        quantized_search = QuantizedSearch(quantized)
        self._compare = Gatherer(quantized_search.cosines, most=max(1, _MOST_BYTES // max(1, 4 * len(rows))))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def margin(self) -> float:
        """How far a rough cosine with an L2-normalised query may lie from the canonical one.

        That is twice the bound on the rounding of a product, for what is done to it afterwards.

        (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1, for any order of summation.)
        """
        return float((self._rows.shape[1] + 8) * np.finfo(np.float32).eps)

    @property
    def approximate(self) -> bool:
        """Whether `nearest` can be called."""
        return self._graph is not None

    def use(self, graph: Graph) -> None:
        """Lets `graph`, which is that of the rows, find neighbours from now on."""
        self._graph = graph

    def coarse(self, query: Rows) -> tuple[Rows, float]:
        """The cosines with `query` (dim,) of all rows, and what they are off at most, some hundredths.

        Concurrent calls read the rows once.
        """
        return self._compare(query)

    def rough(self, query: Rows, positions: npt.NDArray[np.int64]) -> Rows:
        """The cosines with `query` (dim,) of the rows at `positions`, ascending, to within `margin`.

        The last bits depend on what is computed along with them.
        """
        return _by_blocks(positions, lambda block: self._rows[block] @ query, np.float32)

    def canonical(self, query: Rows, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The cosines with `query` (dim,) of the rows at `positions`, in [-1, 1].

        Each is a function of its row and the query alone, to the last bit: the products, exact in float64, are added up
        in halves by sums of whole columns, whose elements know nothing of each other.
        """
        wide = query.astype(np.float64)
        return np.clip(_by_blocks(positions, lambda block: _sums(self._rows[block] * wide), np.float64), -1, 1)

    def nearest(self, query: Rows, count: int) -> npt.NDArray[np.int64]:
        """Positions of `count` rows whose cosines with `query` (dim,) are the largest, and of their copies.

        By the graph, so that some may be missing.
        """
        assert self._graph is not None
        return self._graph.nearest(query, min(count, len(self._rows)))


def _sums(products: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(m, dim) to (m,), overwriting `products`."""
    width = products.shape[1]
    while width > 1:
        half = (width + 1) // 2
        products[:, : width - half] += products[:, half:width]
        width = half
    return products[:, 0]


def _by_blocks(
    positions: npt.NDArray[np.int64], of: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.floating]], dtype: type
) -> npt.NDArray[np.floating]:
    out: npt.NDArray[np.floating] = np.empty(len(positions), dtype)
    for start in range(0, len(positions), _BLOCK):
        block = positions[start : start + _BLOCK]
        out[start : start + len(block)] = of(block)
    return out
