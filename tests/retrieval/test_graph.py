import hashlib
import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rag_papers.retrieval.graph import EFFORTS, Built, Graph, build_graph

from .vectors import clustered


def built(vectors: npt.NDArray[np.float32], path: Path) -> Graph:
    built = build_graph(vectors, path, lambda done: None)
    with path.open("rb") as file:
        return Graph(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), built)


def bytes_of(vectors: npt.NDArray[np.float32], path: Path) -> bytes:
    build_graph(vectors, path, lambda done: None)
    return path.read_bytes()


def recall(graph: Graph, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int) -> float:
    """The share of the exact `k` best that are among the neighbours that a search asks for."""
    found = 0
    for query in queries:
        best = np.argsort(-(vectors @ query), kind="stable")[:k]
        found += len(np.intersect1d(best, graph.nearest(query, 3 * k)))
    return found / (k * len(queries))


def test_equal_vectors_give_equal_bytes(tmp_path: Path) -> None:
    vectors = clustered(9000, 48, 0)
    data = bytes_of(vectors, tmp_path / "one")
    assert bytes_of(vectors.copy(), tmp_path / "two") == data
    vectors[8999] = vectors[8998][::-1]
    assert bytes_of(vectors, tmp_path / "three") != data


def test_the_bytes_are_those_of_every_machine(tmp_path: Path) -> None:
    """Of numbers that every processor draws alike; they change with the library's format and the parameters alone."""
    vectors = np.random.default_rng(0).integers(-127, 128, (3000, 32)).astype(np.float32)
    digest = hashlib.sha256(bytes_of(vectors, tmp_path / "graph")).hexdigest()
    assert digest == "62a0710eaf2b85b04b93d505cde92473ee2f83156f95511f8d15a7e711a10e97"


def test_neighbours_lie_close_to_each_other(tmp_path: Path) -> None:
    vectors = clustered(4000, 32, 0)
    vectors[[2000, 3000]] = vectors[7]
    order = build_graph(vectors, tmp_path / "graph", lambda done: None).order
    assert sorted(order) == [position for position in range(4000) if position not in (2000, 3000)]
    products = vectors[order] @ vectors[order].T
    np.fill_diagonal(products, -1)
    apart = np.abs(products.argmax(axis=1) - np.arange(len(order)))
    assert np.quantile(apart, 0.25) < 250  # in any order it would be 536


def test_progress_ends_with_all(tmp_path: Path) -> None:
    reports: list[int] = []
    build_graph(clustered(9000, 8, 0), tmp_path / "graph", reports.append)
    assert reports == sorted(set(reports))
    assert len(reports) > 1
    assert reports[-1] == 9000


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_small_graphs_find_all(tmp_path: Path, count: int) -> None:
    vectors = clustered(count, 16, 0)
    graph = built(vectors, tmp_path / "graph")
    assert graph.shape == (count, 16)
    for query in clustered(3, 16, 1):
        found = graph.nearest(query, max(1, count))
        assert sorted(found) == list(range(count))


def test_vectors_of_zeros_are_no_fault(tmp_path: Path) -> None:
    graph = built(np.zeros((10, 4), np.float32), tmp_path / "graph")
    assert sorted(graph.nearest(np.zeros(4, np.float32), 3)) == list(range(10))  # all are alike


@pytest.mark.parametrize("data", [b"", b"?", bytes(64), b"\x93NUMPY" + bytes(4096)])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Graph(memoryview(data), Built(np.empty(0, np.int32), np.empty((0, 2), np.int64), EFFORTS[0]))


def test_many_equal_vectors_hide_no_other_and_are_found_together(tmp_path: Path) -> None:
    vectors = clustered(20_000, 64, 0)
    vectors[5000:15_000] = vectors[0]
    graph = built(vectors, tmp_path / "graph")
    assert graph.shape == vectors.shape
    assert set(graph.nearest(vectors[0], 200)) >= {0, *range(5000, 15_000)}
    assert recall(graph, vectors, clustered(100, 64, 1), 10) >= 0.99


def test_recall_at_30_000(tmp_path: Path) -> None:
    vectors = clustered(30_000, 128, 0)
    assert recall(built(vectors, tmp_path / "graph"), vectors, clustered(200, 128, 1), 10) >= 0.99


@pytest.mark.timeout(900)
@pytest.mark.parametrize("dim", [64, pytest.param(384, marks=pytest.mark.soak)])
def test_recall_at_200_000(tmp_path: Path, dim: int) -> None:
    vectors = clustered(200_000, dim, 0)
    assert recall(built(vectors, tmp_path / "graph"), vectors, clustered(200, dim, 1), 10) >= 0.99
