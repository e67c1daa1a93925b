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

WORDS, DIM, ROUNDS = 60_000, 384, 3
QUERY = [f"w{number}" for number in (50, 300, 1000, 4000, 9000, 20_000)]


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

    from rag_papers.persist import index_store as store
    from rag_papers.retrieval import bm25

    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    drawn = generator.choice(WORDS, (count, 80), p=share / share.sum())
    passages = [[f"w{number}" for number in row] for row in drawn]
    vectors = generator.standard_normal((count, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    builder = store.IndexBuilder(directory / "staging")
    records = (
        store.PassageRecord(
            passage_id=f"{number}#0",
            document_id=str(number),
            title="",
            path="corpus.jsonl",
            section="",
            first_page=0,
            last_page=0,
            start_byte=0,
            end_byte=0,
            text=" ".join(passage),
        )
        for number, passage in enumerate(passages)
    )
    builder.write_array(store.PASSAGE_OFFSETS, builder.write_lines(store.PASSAGES, records))
    documents = (
        store.DocumentRecord(
            document_id=str(number),
            path="corpus.jsonl",
            title="",
            year=0,
            authors=(),
            doi="",
            size_bytes=0,
            first_passage=number,
            passage_count=1,
        )
        for number in range(count)
    )
    builder.write_lines(store.DOCUMENTS, documents)
    builder.write_lines(store.FAILURES, [])
    builder.write_postings(bm25.fit(passages))
    builder.create_vectors(count, DIM)[:] = vectors
    manifest = builder.finish(
        corpus_id="0" * 16,
        document_count=count,
        passage_count=count,
        dim=DIM,
        model_name="random",
        model_identity="random",
        analyzer="words",
        chunker="none",
    )
    store.publish(builder.directory, directory, manifest)

    with (directory / "bm25.pkl").open("wb") as file:
        pickle.dump(BM25Okapi(passages), file)
    np.savez_compressed(directory / "vectors.npz", vectors=vectors)
    (directory / "texts.json").write_text(json.dumps([" ".join(passage) for passage in passages]))


def ours(directory: Path) -> None:
    from rag_papers.persist.index_store import OpenIndex
    from rag_papers.retrieval.fusion import fuse

    start = time.perf_counter()
    index = OpenIndex(directory / ("0" * 16))
    best = fuse(
        index.bm25.scores(QUERY),
        index.vectors @ index.vectors[7],
        bound=index.bm25.bound(QUERY),
        bm25_weight=0.5,
        vector_weight=0.5,
        top_k=10,
    )
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
