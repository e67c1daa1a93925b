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

from services import running_services

from rag_client.evaluation import collection
from rag_client.evaluation.retrieval import evaluate

T = TypeVar("T")


def main(directory: Path, split: str | None) -> None:
    judged = collection.read(directory, split)
    with running_services() as services:
        ingest, query = services.ingest, services.query
        first, job = timed(lambda: ingest.ingest(directory, corpus="benchmark"))
        again, unchanged = timed(lambda: ingest.ingest(directory, corpus="benchmark"))
        if not unchanged.result.unchanged:
            sys.exit(f"the second ingest did not end as expected: {unchanged}")
        index = job.result.index
        print(f"{index.document_count} documents, {index.passage_count} passages, {len(judged.queries)} queries")
        print(f"first ingest {first:.1f} s; nothing changed {again:.2f} s; ratio {first / again:.0f}")
        for name, bm25, vector in (("BM25", 1, 0), ("vectors", 0, 1), ("default", None, None)):
            report = evaluate(query, judged, bm25_weight=bm25, vector_weight=vector)
            print(f"{name}: nDCG@10 {report.measures.ndcg_at_10:.4f}; Search median {report.latency.p50:.1f} ms")
        sample = list(judged.queries.values())[:50]
        miss = [timed(lambda: query.ask(text))[0] * 1000 for text in sample]  # noqa: B023
        hit = [timed(lambda: query.ask(text))[0] * 1000 for text in sample]  # noqa: B023
        print(
            f"Ask median: first {statistics.median(miss):.1f} ms, cached {statistics.median(hit):.2f} ms; ratio "
            f"{statistics.median(miss) / statistics.median(hit):.0f}"
        )


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds that `call` took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
