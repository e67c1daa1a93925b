"""A million passages: the memory that fitting BM25 takes, and what opening costs, each in a process of its own.

    python benchmarks/million.py DIRECTORY [PASSAGES]

Passages have 120 words. DIRECTORY should have room for 4 GB; what is there is used again.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from synthetic import CORPUS_ID, DIM, publish, word, write_postings, write_texts

from rag_papers.persist.index_store import IndexBuilder, OpenIndex
from rag_papers.retrieval.search import search

WORDS, ROUNDS = 120, 5


def main(directory: Path, count: int) -> None:
    if not (directory / CORPUS_ID).exists():
        builder = IndexBuilder(directory / "staging")
        in_a_process(write_texts, builder, count, WORDS)
        in_a_process(fit, builder)
        in_a_process(publish, builder, count, directory)
    for _ in range(ROUNDS):
        in_a_process(open_index, directory)


def in_a_process(step: Callable[..., object], *arguments: object) -> None:
    process = multiprocessing.get_context("fork").Process(target=step, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def fit(builder: IndexBuilder) -> None:
    before = peak_mb()
    start = time.perf_counter()
    write_postings(builder)
    seconds = time.perf_counter() - start
    print(f"BM25 fitted in {seconds:.0f} s, at most {peak_mb() - before:.0f} MB beside the text on disk")


def open_index(directory: Path) -> None:
    query = " ".join(word(number) for number in (50, 300, 1000, 4000, 9000, 20_000))
    vector = np.ones(DIM, np.float32) / np.float32(DIM**0.5)
    before, start = resident_mb(), time.perf_counter()
    index = OpenIndex(directory / CORPUS_ID)
    opened, held = time.perf_counter(), resident_mb()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        search(index, query, None, bm25_weight=1.0, vector_weight=0.0, top_k=10)
        times.append((time.perf_counter() - begin) * 1000)
    bm25_held = resident_mb()
    begin = time.perf_counter()
    search(index, query, vector, bm25_weight=0.5, vector_weight=0.5, top_k=10)
    print(
        f"opened in {(opened - start) * 1000:.1f} ms, {held - before:.1f} MB; BM25 query {times[0]:.1f} ms, then "
        f"{statistics.median(times[1:]):.1f} ms, {bm25_held - before:.1f} MB; with vectors "
        f"{(time.perf_counter() - begin) * 1000:.0f} ms"
    )


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
