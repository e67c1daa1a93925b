"""Exact vector search against faiss's IndexFlatIP, in one process, called alternately.

    python benchmarks/vectors.py [VECTORS]        # needs `pip install faiss-cpu`

384 numbers each, one query at a time, top 10; faiss at one thread and at two, numpy as it comes.
"""

import statistics
import sys
import time
from collections.abc import Callable

import faiss
import numpy as np

from rag_papers.retrieval.top import top

DIM, QUERIES, K = 384, 60, 10


def main(count: int) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((count, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)

    def flat(threads: int) -> Callable[[np.ndarray], object]:
        def search(query: np.ndarray) -> object:
            faiss.omp_set_num_threads(threads)
            return index.search(query[None], K)[1][0]

        return search

    def ours(query: np.ndarray) -> object:
        return top(vectors @ query, K)

    sides = {"ours": ours, "faiss, 1 thread": flat(1), "faiss, 2 threads": flat(2)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for query in vectors[generator.integers(0, count, QUERIES)] + 0.01:
        for name in generator.permutation(list(sides)):
            start = time.perf_counter()
            sides[name](query)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(measured) * 1000 for name, measured in times.items()}
    print(f"{count} vectors of {DIM}, top {K}, one query at a time")
    for name, median in medians.items():
        print(f"{name}: median {median:.2f} ms, {median / medians['ours']:.2f} x ours")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
