"""The approximate index of vectors: a graph of near neighbours (HNSW: Malkov & Yashunin, 2018), by usearch.

It holds the vectors as signed bytes, scaled by one factor. Sums of products of bytes are exact, so that the graph is
the same on every processor; one thread inserts in the order of position, so that it is the same in every run. Of equal
vectors the first alone is in the graph: many copies would be each other's only neighbours, and the rest out of reach.

usearch is imported when it is needed, and not before: torch, imported after it, never ends tracing a model.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

GRAPH = "usearch-1"
"""Identity of the graph: of the library's file and the parameters below; part of the ids of indexes that have one."""

_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 100
_LARGEST = 127
_BLOCK = 4096  # vectors that are inserted in one call: bounds the memory, and the time between two reports


def build_graph(
    vectors: npt.NDArray[np.float32], path: Path, on_progress: Callable[[int], None]
) -> npt.NDArray[np.int64]:
    """Writes the graph of `vectors` (n, dim) to `path`; equal vectors give equal bytes.

    Returns the vectors that are not in it, (c, 2), ascending: the position of the one that stands for it, its own.
    `on_progress` is told how many vectors are done.
    """
    from usearch.index import Index

    count, dim = vectors.shape
    blocks = [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]
    # One factor for all: of the products, which are sums over whole rows, it leaves the order as it is.
    largest = max((float(np.abs(vectors[block]).max()) for block in blocks), default=0.0)
    index = Index(ndim=dim, metric="ip", dtype="i8", connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD)
    firsts: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for block in blocks:
        rows = _bytes(vectors[block], largest)
        fresh = []
        for place, row in enumerate(rows):
            position = block.start + place
            first = firsts.setdefault(hashlib.blake2b(row, digest_size=16).digest(), position)
            if first == position:
                fresh.append(place)
            else:
                copies.append((first, position))
        if fresh:
            index.add(block.start + np.array(fresh), rows[fresh], threads=1)
        on_progress(block.start + len(rows))
    index.save(path)
    return np.array(sorted(copies), np.int64).reshape(-1, 2)


class Graph:
    """An opened graph. Searches of one graph must not overlap."""

    def __init__(self, data: memoryview, copies: npt.NDArray[np.int64]) -> None:
        """Maps what `build_graph` wrote and returned, without reading it whole. Raises ValueError if usearch cannot.

        `data` must be verified: usearch follows the numbers in it wherever they lead.
        """
        from usearch.index import Index

        self._copies = copies
        self._data = data  # usearch keeps no reference
        try:
            # Passages are their own keys, and nobody looks one up.
            index = Index.restore(data, view=True, expansion_search=_EXPANSION_SEARCH, enable_key_lookups=False)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if index is None:
            raise ValueError("it is no graph")
        self._index = index

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors of how many numbers it was built of."""
        return len(self._index) + len(self._copies), int(self._index.ndim)

    def nearest(self, query: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
        """Positions of `count` vectors that are about the nearest to `query` (dim,), and of their copies."""
        found = self._index.search(_bytes(query, float(np.abs(query).max())), count, threads=1)
        keys = np.asarray(found.keys, np.int64)
        begins, ends = (np.searchsorted(self._copies[:, 0], keys, side) for side in ("left", "right"))
        runs = [self._copies[begins[place] : ends[place], 1] for place in np.flatnonzero(begins < ends)]
        return np.concatenate([keys, *runs])


def _bytes(vectors: npt.NDArray[np.float32], largest: float) -> npt.NDArray[np.int8]:
    return np.asarray(np.rint(vectors * (_LARGEST / (largest or 1.0))), np.int8)
