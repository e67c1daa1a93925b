"""The approximate index of vectors: a graph of near neighbours (HNSW: Malkov & Yashunin, 2018), by faiss.

It holds the vectors as signed bytes, scaled by one factor. Sums of products of bytes are exact, so that the graph is
the same on every processor; one thread inserts in the order of position, so that it is the same in every run. Of equal
vectors the first alone is in the graph: many copies would be each other's only neighbours, and the rest out of reach.
At last neighbours are moved close to each other, since what a search waits for is memory (Coleman, Segarra, Shrivastava
& Smola, "Graph Reordering for Cache-Efficient Near Neighbor Search", 2021).

How many candidates a search must keep to miss little (the effort: ef in the paper) depends on the vectors, and not on
their number alone. So it is found out when a graph is built, with questions made of the vectors themselves.

faiss is imported when it is needed: most indexes have no graph.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

GRAPH = "faiss-hnsw-2"
"""Identity of the graph: of the library's file and the parameters below; part of the ids of indexes that have one."""
EFFORTS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024)
"""Those that are tried, ascending."""

_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_LARGEST = 127
_BLOCK = 4096  # vectors that are inserted in one call: bounds the memory, and the time between two reports
_QUESTIONS = 256
_BEST = 10
_RECALL = 0.995  # of the best of a question, for those of others to find 0.99; the effort is the least that reaches it

Rows = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


class Built(NamedTuple):
    """What goes with a graph's file."""

    order: npt.NDArray[np.int32]
    """(m,): the positions of the vectors that are in the graph, in its order."""
    copies: Positions
    """(c, 2), ascending: for each vector that is not in the graph the position of the one that is, and its own."""
    effort: int
    """One of EFFORTS."""


def build_graph(vectors: Rows, path: Path, on_progress: Callable[[int], None]) -> Built:
    """Writes the graph of `vectors` (n, dim) to `path`; equal vectors give equal bytes and an equal effort.

    `on_progress` is told how many vectors are done.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    count, dim = vectors.shape
    blocks = [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]
    # One factor for all: of the products, which are sums over whole rows, it leaves the order as it is.
    largest = max((float(np.abs(vectors[block]).max()) for block in blocks), default=0.0)
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexHNSWSQ(dim, kind, _CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _EXPANSION_ADD
    index.train(np.zeros((1, dim), np.float32))  # there is nothing to be learnt, but faiss insists
    firsts: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for block in blocks:
        rows = _whole(vectors[block], largest)
        fresh = []
        for place, row in enumerate(rows.astype(np.int8)):
            position = block.start + place
            first = firsts.setdefault(hashlib.blake2b(row, digest_size=16).digest(), position)
            if first == position:
                fresh.append(place)
            else:
                copies.append((first, position))
        if fresh:
            index.add(rows[fresh])
        on_progress(block.start + len(rows))
    present = np.fromiter(firsts.values(), np.int32, len(firsts))
    order = _close_together(index)
    index.permute_entries(order)
    faiss.write_index(index, str(path))
    effort = _least_effort(index, vectors, largest, present)
    return Built(present[order], np.array(sorted(copies), np.int64).reshape(-1, 2), effort)


def _close_together(index: Any) -> Positions:
    """The numbers of the vectors in `index` as a depth-first walk along the links of the lowest layer comes by them."""
    import faiss

    links = faiss.vector_to_array(index.hnsw.neighbors)
    begins = faiss.vector_to_array(index.hnsw.offsets)[:-1].astype(np.int64)
    links = links[begins[:, None] + np.arange(index.hnsw.nb_neighbors(0))]
    order: list[int] = []
    known = np.zeros(index.ntotal + 1, np.bool_)
    known[-1] = True  # which is where "no more links" leads, -1
    path: list[int] = []
    start = 0
    while len(order) < index.ntotal:
        if path:
            linked = links[path[-1]]
            fresh = linked[~known[linked]]
            if not len(fresh):
                path.pop()
                continue
            number = int(fresh[0])
        else:  # at the beginning, and where no link leads to the rest
            start += int(known[start:].argmin())
            number = start
        known[number] = True
        order.append(number)
        path.append(number)
    return np.array(order, np.int64)


def _least_effort(index: Any, vectors: Rows, largest: float, present: npt.NDArray[np.int32]) -> int:
    """The least effort with which `index` finds _RECALL of the _BEST best for questions made of those `present` in it.

    Everything is counted in bytes, whose sums are exact, so that the effort is the same on every processor.
    """
    if len(present) <= EFFORTS[0]:
        return EFFORTS[0]
    ones = vectors[present[np.linspace(0, len(present) - 1, _QUESTIONS, dtype=np.int64)]]
    questions = asked(mixed(ones))
    kth = _kth_best(questions, vectors, largest, present)

    def suffices(effort: int) -> bool:
        products, _ = index.search(questions, _BEST, params=_parameters(effort))
        return bool(np.count_nonzero(products >= kth[:, None]) >= _RECALL * products.size)

    return next(filter(suffices, EFFORTS), EFFORTS[-1])


def mixed(vectors: Rows) -> Rows:
    """As many questions as `vectors` (m, dim), each made of one and half of another one, of any other kind.

    Such are as hard to find neighbours for as questions that people ask (measured in benchmarks/RESULTS.md).
    """
    return vectors + np.roll(vectors, len(vectors) // 2, axis=0) / np.float32(2)


def asked(questions: Rows) -> Rows:
    """`questions` (m, dim) as a graph compares them: each scaled by its own largest number, which changes no order."""
    return np.stack([_asked(question) for question in questions])


def _asked(question: Rows) -> Rows:
    return _whole(question, float(np.abs(question).max()))


def _kth_best(questions: Rows, vectors: Rows, largest: float, present: npt.NDArray[np.int32]) -> Rows:
    """For each of `questions` its _BEST-th largest product with one of the vectors `present`, in bytes."""
    best = np.full((len(questions), _BEST), -np.inf, np.float32)
    for start in range(0, len(present), _BLOCK):
        products = questions @ _whole(vectors[present[start : start + _BLOCK]], largest).T
        best = np.partition(np.concatenate([best, products], axis=1), -_BEST, axis=1)[:, -_BEST:]
    return best[:, 0]


class Graph:
    """An opened graph. Safe to use from several threads."""

    def __init__(self, data: memoryview, built: Built) -> None:
        """Maps what `build_graph` wrote, without reading it whole. Raises ValueError if faiss cannot.

        `data` must be verified: faiss follows the numbers in it wherever they lead.
        """
        import faiss

        self._order, self._copies, self.effort = built
        self._data = np.frombuffer(data, np.uint8)  # faiss keeps no reference
        try:
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(self._data), self._data.size)
            index = faiss.read_index(reader)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if not isinstance(index, faiss.IndexHNSWSQ):
            raise ValueError(f"it is a {type(index).__name__}")
        self._index = index
        self._parameters = _parameters(self.effort)

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors of how many numbers it was built of."""
        return self._index.ntotal + len(self._copies), int(self._index.d)

    def nearest(self, query: Rows, count: int) -> Positions:
        """Positions of `count` vectors that are about the nearest to `query` (dim,), and of their copies.

        Of the ten nearest few are missing: 0.005 on average over the questions that `effort` was measured with.
        """
        parameters = self._parameters if count <= self.effort else _parameters(count)
        _, [found] = self._index.search(_asked(query)[None], count, params=parameters)
        firsts: Positions = self._order[found[found >= 0]].astype(np.int64)  # fewer, if it holds no more
        if not len(self._copies):
            return firsts
        begins, ends = (np.searchsorted(self._copies[:, 0], firsts, side) for side in ("left", "right"))
        runs = [self._copies[begins[place] : ends[place], 1] for place in np.flatnonzero(begins < ends)]
        return np.concatenate([firsts, *runs])


def _parameters(effort: int) -> Any:
    import faiss

    return faiss.SearchParametersHNSW(efSearch=effort)


def _whole(vectors: Rows, largest: float) -> Rows:
    """`vectors` scaled and rounded to whole numbers that fit signed bytes."""
    return np.asarray(np.rint(vectors * (_LARGEST / (largest or 1.0))), np.float32)
