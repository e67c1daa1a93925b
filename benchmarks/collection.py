"""How well and how fast a whole collection in BEIR layout is ingested, searched and asked, over gRPC.

    python benchmarks/collection.py DIRECTORY [SPLIT]

Prints the time of the first ingest and of one with nothing changed, nDCG@10, and the latency of Search and Ask.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from measures import ndcg, read_judgements, read_lines
from services import running_services

from rag_client import QueryClient

T = TypeVar("T")

DEPTH = 60
"""Passages to retrieve, enough for ten documents."""


def main(directory: Path, split: str) -> None:
    queries = {row["_id"]: row["text"] for row in read_lines(directory / "queries.jsonl")}
    judgements = read_judgements(directory / "qrels" / f"{split}.tsv")
    judged = {name: text for name, text in queries.items() if name in judgements}
    with running_services() as services:
        ingest, query = services.ingest, services.query
        first, job = timed(lambda: ingest.ingest(directory, corpus="benchmark"))
        again, unchanged = timed(lambda: ingest.ingest(directory, corpus="benchmark"))
        if not unchanged.result.unchanged:
            sys.exit(f"the second ingest did not end as expected: {unchanged}")
        index = job.result.index
        print(f"{index.document_count} documents, {index.passage_count} passages, {len(judged)} queries")
        print(f"first ingest {first:.1f} s; nothing changed {again:.2f} s; ratio {first / again:.0f}")
        query.search("warm up")
        for name, bm25, vector in (("BM25", 1, 0), ("vectors", 0, 1), ("default", None, None)):
            times, scores = [], []
            for number, text in judged.items():
                seconds, found = timed(lambda: search(query, text, bm25, vector))  # noqa: B023 - called at once
                times.append(seconds * 1000)
                scores.append(ndcg(found, judgements[number]))
            print(f"{name}: nDCG@10 {statistics.mean(scores):.4f}; Search median {statistics.median(times):.1f} ms")
        sample = list(judged.values())[:50]
        miss = [timed(lambda: query.ask(text))[0] * 1000 for text in sample]  # noqa: B023
        hit = [timed(lambda: query.ask(text))[0] * 1000 for text in sample]  # noqa: B023
        print(
            f"Ask median: first {statistics.median(miss):.1f} ms, cached {statistics.median(hit):.2f} ms; ratio "
            f"{statistics.median(miss) / statistics.median(hit):.0f}"
        )


def search(query: QueryClient, text: str, bm25: float | None, vector: float | None) -> list[str]:
    """Documents in the order of their best passage."""
    response = query.search(text, top_k=DEPTH, bm25_weight=bm25, vector_weight=vector)
    return list(dict.fromkeys(source.passage.document_id for source in response.sources))


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds that `call` took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "test")
