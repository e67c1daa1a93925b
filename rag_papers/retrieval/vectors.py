"""Cosines of a query with the passages: rough ones of all at once, canonical ones of a few."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.batching import Gatherer
from rag_papers.retrieval.graph import Graph

_MOST_BYTES = 64 << 20  # scores that one product of several queries may hold
_BLOCK = 4096  # rows that are copied at a time
_SPARSE = 4  # a share of the rows smaller than one in so many is scored row by row

Rows = npt.NDArray[np.float32]


class VectorSearch:
    """The vectors of an index, searchable. Safe to use from several threads."""

    def __init__(self, rows: Rows) -> None:
        """`rows` (n, dim) are L2-normalised."""
        self._rows = rows
        self._graph: Graph | None = None
        self._multiply = Gatherer(self._products, most=max(1, _MOST_BYTES // max(1, 4 * len(rows))))
        self._find = Gatherer(self._neighbours, most=64)

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

    def rough(self, query: Rows, positions: npt.NDArray[np.int64] | None = None) -> Rows:
        """The cosines with `query` (dim,) of all rows, or of those at `positions`, to within `margin`.

        The last bits depend on what is computed along with them. Concurrent calls share one product.
        """
        if positions is None:
            return self._multiply(query)
        if len(positions) * _SPARSE > len(self._rows):
            return np.asarray(self._multiply(query)[positions])
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
        return self._find((query, min(count, len(self._rows))))

    def _products(self, queries: list[Rows]) -> list[Rows]:
        if len(queries) == 1:
            return [self._rows @ queries[0]]
        return list(np.stack(queries) @ self._rows.T)

    def _neighbours(self, wanted: list[tuple[Rows, int]]) -> list[npt.NDArray[np.int64]]:
        assert self._graph is not None
        return [self._graph.nearest(query, count) for query, count in wanted]


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
