"""BM25 top-10 and index building against rank_bm25, tantivy and bm25s, in one process, in turn.

    python benchmarks/bm25.py [PASSAGES]

The passages are drawn from a Zipf distribution over 60,000 words, 60 to 120 words each; the queries have 8 words, of
which none is among the 20 most frequent, as after the removal of stop words. A side that is not installed is left out:
`pip install bm25s numba tantivy` for all.
"""

import ctypes
import importlib.util
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from rag_papers.retrieval import bm25
from rag_papers.retrieval.top import top

VOCABULARY, QUERIES, BLOCK, K = 60_000, 200, 20, 10
BUILDS = 3
Search = Callable[[list[str]], object]


def main(count: int) -> None:
    passages, queries = collection(count)
    sides: dict[str, Search] = {}
    print(f"{count} passages, {len(queries)} queries of 8 words, top {K}")
    for name, build in (("ours", ours), ("rank_bm25", rank_bm25)):
        seconds = [built(build, passages) for _ in range(BUILDS)]
        print(
            f"{name}: built in {statistics.median(second for second, _ in seconds):.2f} s, median of {BUILDS}, "
            f"{statistics.median(mib for _, mib in seconds):.0f} MiB more at its peak"
        )
    for name, build in (("ours", ours), ("rank_bm25", rank_bm25), ("tantivy", tantivy), ("bm25s", bm25s)):
        if name != "ours" and not importlib.util.find_spec(name):
            print(f"{name}: not installed")
            continue
        start = time.perf_counter()
        sides[name] = build(passages)
        print(f"{name}: built in {time.perf_counter() - start:.2f} s")
    times = interleaved(sides, queries)
    for name in sides:
        ratios = (
            f"{statistics.median(some[name]) * 1000:.3f} ms, "
            f"{statistics.median(some[name]) / statistics.median(some['ours']):.2f} x ours"
            for some in times
        )
        print(f"{name}: " + "; first of a block: ".join(ratios))


def built(build: Callable[[list[list[str]]], Search], passages: list[list[str]]) -> tuple[float, float]:
    """Seconds of a build in a process of its own, and by how many MiB that grew at its peak."""
    ctypes.CDLL(None).malloc_trim(0)  # so that the build does not fill what was freed before it
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        index = build(passages)
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(writer, json.dumps([seconds, grown]).encode())
        del index
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        seconds, grown = json.loads(answer.read())
    os.waitpid(child, 0)
    return seconds, grown


def collection(count: int) -> tuple[list[list[str]], list[list[str]]]:
    """Passages and queries as words."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, VOCABULARY + 1) ** 1.05
    words = [f"t{number}" for number in range(VOCABULARY)]
    lengths = generator.integers(60, 120, count)
    drawn = generator.choice(VOCABULARY, int(lengths.sum()), p=share / share.sum())
    passages = [[words[number] for number in part] for part in np.split(drawn, np.cumsum(lengths)[:-1])]
    rare = share[20:] / share[20:].sum()
    queries = [[words[20 + number] for number in generator.choice(VOCABULARY - 20, 8, p=rare)] for _ in range(QUERIES)]
    return passages, queries


def interleaved(sides: dict[str, Search], queries: Sequence[list[str]]) -> tuple[dict[str, list[float]], ...]:
    """Seconds of every query of every side, and of the first of each block alone.

    The sides take turns, block by block in a new order. The first query of a block finds the processor's caches full of
    what the other sides have used, the others find them as in a service that answers one query after the other.
    """
    every: dict[str, list[float]] = {name: [] for name in sides}
    for start in range(0, len(queries), BLOCK):
        for name in random.Random(start).sample(sorted(sides), len(sides)):
            for query in queries[start : start + BLOCK]:
                begin = time.perf_counter()
                sides[name](query)
                every[name].append(time.perf_counter() - begin)
    return every, {name: seconds[::BLOCK] for name, seconds in every.items()}


def ours(passages: list[list[str]]) -> Search:
    index = bm25.Bm25(bm25.fit(passages), len(passages))
    return lambda query: top(index.scores(query), K, above=0.0)


def rank_bm25(passages: list[list[str]]) -> Search:
    from rank_bm25 import BM25Okapi

    index = BM25Okapi(passages)
    return lambda query: np.argpartition(index.get_scores(query), -K)[-K:]


def tantivy(passages: list[list[str]]) -> Search:
    import tantivy as library

    builder = library.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="whitespace", index_option="freq")
    builder.add_unsigned_field("number", stored=True)
    index = library.Index(builder.build())
    writer = index.writer(heap_size=256 << 20, num_threads=2)
    for number, passage in enumerate(passages):
        writer.add_document(library.Document(text=" ".join(passage), number=number))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: list[str]) -> object:
        return searcher.search(index.parse_query(" ".join(query), ["text"]), K)

    return search


def bm25s(passages: list[list[str]]) -> Search:
    import bm25s as library

    index = library.BM25(backend="numba" if importlib.util.find_spec("numba") else "numpy")
    index.index(passages, show_progress=False)

    def search(query: list[str]) -> object:
        return index.retrieve([query], k=K, show_progress=False, n_threads=0)

    search(passages[0][:8])  # compiles
    return search


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
