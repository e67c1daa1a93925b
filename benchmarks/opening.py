"""Opening an index and answering a first query, against unpickling, decompressing and parsing one, each in a process of
its own, alternately.

    python benchmarks/opening.py [PASSAGES]

The other side is the usual way: rank_bm25 in a pickle, vectors in a compressed .npz, texts in a JSON list. Both sides
hold the same 80-word passages and random vectors of 384 numbers.
"""

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic import CORPUS_ID, publish, texts, word, write_postings, write_texts

WORDS, ROUNDS = 80, 3
QUERY = [word(number) for number in (50, 300, 1000, 4000, 9000, 20_000)]


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_both(directory, count)
        times: dict[str, list[float]] = {"ours": [], "pickle": []}
        for _ in range(ROUNDS):
            for side, measured in times.items():
                command = [sys.executable, __file__, side, name]
                measured.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    print(f"{count} passages, open and first query, median of {ROUNDS}")
    for side, median in medians.items():
        print(f"{side}: {median * 1000:.1f} ms, {median / medians['ours']:.0f} x ours")


def write_both(directory: Path, count: int) -> None:
    from rank_bm25 import BM25Okapi

    from rag_papers.persist.index_store import IndexBuilder, OpenIndex

    builder = IndexBuilder(directory / "staging")
    write_texts(builder, count, WORDS)
    write_postings(builder)
    index = OpenIndex(publish(builder, count, directory))
    passages = list(texts(count, WORDS))
    with (directory / "bm25.pkl").open("wb") as file:
        pickle.dump(BM25Okapi([passage.split() for passage in passages]), file)
    np.savez_compressed(directory / "vectors.npz", vectors=index.vectors)
    (directory / "texts.json").write_text(json.dumps(passages))


def ours(directory: Path) -> None:
    from rag_papers.persist.index_store import OpenIndex
    from rag_papers.retrieval.search import search

    start = time.perf_counter()
    index = OpenIndex(directory / CORPUS_ID)
    vector = index.vectors[7]
    best = search(index, " ".join(QUERY), vector, bm25_weight=0.5, vector_weight=0.5, top_k=10)
    for candidate in best:
        index.passage(candidate.position)
    print(time.perf_counter() - start)


def unpickled(directory: Path) -> None:
    import rank_bm25  # noqa: F401 - imported before the clock starts, as on our side

    start = time.perf_counter()
    with (directory / "bm25.pkl").open("rb") as file:
        bm25 = pickle.load(file)  # noqa: S301 - the way that is measured against
    vectors = np.load(directory / "vectors.npz")["vectors"]
    texts = json.loads((directory / "texts.json").read_text())
    scores = bm25.get_scores(QUERY)
    fused = scores / (scores.max() or 1) + vectors @ vectors[7]
    for position in np.argsort(-fused)[:10]:
        texts[position]
    print(time.perf_counter() - start)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"ours": ours, "pickle": unpickled}[sys.argv[1]](Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
