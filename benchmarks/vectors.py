"""Vector search against faiss, hnswlib and usearch, in one process, called alternately.

    pip install hnswlib usearch              # for this comparison alone; the services need neither
    python benchmarks/vectors.py one [N]     # exact, one query at a time: faiss IndexFlatIP at one thread and at two
    python benchmarks/vectors.py many [N]    # exact, 32 queries at once: one after the other, and as they come
    python benchmarks/vectors.py graph N DIRECTORY [SIDE ...]  # approximate; SIDE: hnswlib, usearch, faiss; or all

Top 10 of N vectors (100,000 unless given) of 384 numbers, which lie in clusters as those of texts do. `graph` keeps
what it builds in DIRECTORY, one thread each, for the next run: a million vectors take 20 minutes a side. Each of the
other libraries is given the least effort with which it finds as much as ours does.
"""

import mmap
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
import numpy.typing as npt
from usearch.index import Index

from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.graph import EFFORTS, Built, Graph, build_graph
from rag_papers.retrieval.quantization import quantize
from rag_papers.retrieval.search import search
from rag_papers.retrieval.vectors import VectorSearch

DIM, QUERIES, AT_ONCE, K = 384, 1000, 32, 10
CONNECTIVITY, EXPANSION_ADD = 16, 128
OF_A_KIND, LATENT = 20, 64  # vectors in a cluster

Vectors = npt.NDArray[np.float32]
Side = Callable[[Vectors], Sequence[int]]


class OurIndex:
    """Passages without words."""

    def __init__(self, vectors: Vectors) -> None:
        self.bm25 = Bm25(fit([[] for _ in vectors]), len(vectors))
        self.vector_search = VectorSearch(vectors, quantize(vectors))

    def search(self, query: Vectors, *, exact: bool = True) -> list[int]:
        """Positions of the best, best first."""
        found = search(self, "", query, bm25_weight=0, vector_weight=1, top_k=K, exact=exact)
        return [candidate.position for candidate in found]


def clustered(count: int) -> tuple[Vectors, Vectors]:
    """`count` vectors and QUERIES more of the same kind, rows L2-normalised."""
    random = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(LATENT) / 8)
    clusters = max(1, count // OF_A_KIND)
    centres = random.standard_normal((clusters, LATENT)) * scale
    projection = random.standard_normal((LATENT, DIM)) / np.sqrt(LATENT)
    rows = np.empty((count + QUERIES, DIM), np.float32)
    for start in range(0, len(rows), 1 << 16):
        block = rows[start : start + (1 << 16)]
        latent = centres[random.integers(0, clusters, len(block))]
        latent = latent + 0.7 * scale * random.standard_normal(latent.shape)
        block[:] = latent @ projection + 0.15 * random.standard_normal(block.shape)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows[:count], rows[count:]


def one(vectors: Vectors, queries: Vectors) -> None:
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)

    def of_faiss(threads: int) -> Side:
        def found(query: Vectors) -> Sequence[int]:
            faiss.omp_set_num_threads(threads)
            return list(flat.search(query[None], K)[1][0])

        return found

    sides = {"ours": OurIndex(vectors).search, "faiss, 1 thread": of_faiss(1), "faiss, 2 threads": of_faiss(2)}
    report(sides, queries[:100])


def many(vectors: Vectors, queries: Vectors) -> None:
    index = OurIndex(vectors)
    asked = queries[:AT_ONCE]
    times: dict[str, list[float]] = {"one after the other": [], "as they come": []}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(10):
            start = time.perf_counter()
            for query in asked:
                index.search(query)
            times["one after the other"].append((time.perf_counter() - start) / AT_ONCE)
            start = time.perf_counter()
            list(pool.map(index.search, asked))
            times["as they come"].append((time.perf_counter() - start) / AT_ONCE)
    for name, measured in times.items():
        print(f"{AT_ONCE} queries {name}: {statistics.median(measured) * 1000:.2f} ms each")


def graph(vectors: Vectors, queries: Vectors, directory: str, *names: str) -> None:
    exact = best(vectors, queries)
    kept = Path(directory)
    makers = {"hnswlib": of_hnswlib, "faiss": of_faiss_graph, "usearch": of_usearch}
    with ThreadPoolExecutor(2) as pool:
        building = pool.submit(of_ours, vectors, kept / f"ours-{len(vectors)}")
        others = {
            name: pool.submit(make, vectors, kept / f"{name}-{len(vectors)}")
            for name, make in makers.items()
            if name in (names or makers)
        }
        ours, effort = building.result()
        wanted = recall(ours, queries, exact)
        print(f"ours, re-scored: recall@{K} {wanted:.4f} with an effort of {effort}", flush=True)
        sides: dict[str, Side] = {"ours": ours}
        for name, made in others.items():
            at = made.result()
            for effort in EFFORTS:
                reached = recall(at(effort), queries, exact)
                if reached >= wanted:
                    break
            print(f"{name}: recall@{K} {reached:.4f} with an effort of {effort}", flush=True)
            sides[name] = at(effort)
        for _ in range(3):
            report(sides, queries)


def of_ours(vectors: Vectors, path: Path) -> tuple[Side, int]:
    rest = path.with_suffix(".npz")
    if not rest.exists():
        order, copies, effort = timed("ours", lambda: build_graph(vectors, path, lambda done: None))
        np.savez(rest, order=order, copies=copies, effort=effort)
    kept = np.load(rest)
    built = Built(kept["order"], kept["copies"], int(kept["effort"]))
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    ours = OurIndex(vectors)
    ours.vector_search.use(timed("ours, opening", lambda: Graph(data, built)))
    return lambda query: ours.search(query, exact=False), built.effort


def of_hnswlib(vectors: Vectors, path: Path) -> Callable[[int], Side]:
    index = hnswlib.Index("ip", DIM)
    if path.exists():
        index.load_index(str(path))
    else:
        index.init_index(len(vectors), M=CONNECTIVITY, ef_construction=EXPANSION_ADD, random_seed=1)
        timed("hnswlib", lambda: index.add_items(vectors, num_threads=1))
        index.save_index(str(path))

    def at(effort: int) -> Side:
        def found(query: Vectors) -> Sequence[int]:
            index.set_ef(effort)
            return index.knn_query(query, K, num_threads=1)[0][0].tolist()

        return found

    return at


def of_usearch(vectors: Vectors, path: Path) -> Callable[[int], Side]:
    index = Index(ndim=DIM, metric="ip", dtype="f32", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD)
    if path.exists():
        index.load(str(path))
    else:
        timed("usearch", lambda: index.add(np.arange(len(vectors)), vectors, threads=1))
        index.save(str(path))

    def at(effort: int) -> Side:
        def found(query: Vectors) -> Sequence[int]:
            index.expansion_search = effort
            return index.search(query, K, threads=1).keys.tolist()

        return found

    return at


def of_faiss_graph(vectors: Vectors, path: Path) -> Callable[[int], Side]:
    faiss.omp_set_num_threads(1)
    if path.exists():
        index = faiss.read_index(str(path))
    else:
        index = faiss.IndexHNSWFlat(DIM, CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EXPANSION_ADD
        timed("faiss", lambda: index.add(vectors))
        faiss.write_index(index, str(path))

    def at(effort: int) -> Side:
        def found(query: Vectors) -> Sequence[int]:
            index.hnsw.efSearch = effort
            return index.search(query[None], K)[1][0].tolist()

        return found

    return at


def best(vectors: Vectors, queries: Vectors) -> list[set[int]]:
    """The K nearest of each query, by looking at all."""
    parts = (queries[start : start + 50] @ vectors.T for start in range(0, len(queries), 50))
    return [set(np.argpartition(row, -K)[-K:].tolist()) for part in parts for row in part]


def recall(side: Side, queries: Vectors, exact: Sequence[set[int]]) -> float:
    """The share of the exact best that `side` finds."""
    return statistics.mean(len(best & set(side(query))) / K for query, best in zip(queries, exact, strict=True))


def timed(name: str, work: Callable[[], Any]) -> Any:
    """What `work` gives; prints how long it took."""
    start = time.perf_counter()
    result = work()
    print(f"{name}: {time.perf_counter() - start:.2f} s", flush=True)
    return result


def report(sides: Mapping[str, Side], queries: Vectors) -> None:
    """Calls the sides alternately and prints their medians."""
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for query in queries:
        for name in random.permutation(list(sides)):
            start = time.perf_counter()
            sides[name](query)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(measured) * 1000 for name, measured in times.items()}
    for name, median in medians.items():
        print(f"{name}: median {median:.2f} ms, {median / medians['ours']:.2f} x ours")


if __name__ == "__main__":
    comparison = {"one": one, "many": many, "graph": graph}[sys.argv[1]]
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    print(f"{size} vectors of {DIM}, top {K}")
    comparison(*clustered(size), *sys.argv[3:])
