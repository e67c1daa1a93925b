"""What int8 costs and gains: each collection ingested in every precision, then searched with all its judged queries.

    python benchmarks/precision.py DIRECTORY... [--split SPLIT]

Prints for each collection and precision nDCG@10 of the vectors alone and of the default, then, both precisions in one
process, alternately: texts a second and processor seconds for abstracts of the last collection, milliseconds a query.
"""

import argparse
import json
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from services import running_services

from rag_client.evaluation import collection
from rag_client.evaluation.retrieval import evaluate
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.encoders import PRECISIONS, SentenceTransformerEncoder, open_encoder
from rag_papers.retrieval.encoders.frozen import FrozenEncoder

NAME = "all-MiniLM-L6-v2"
QUERY = "how do residual connections help gradients in deep networks"
ROUNDS = 5


def quality(directory: Path, split: str | None) -> None:
    judged = collection.read(directory, split)
    for precision in PRECISIONS:
        os.environ["RAG_ENCODER_PRECISION"] = precision
        with running_services() as services:
            job = services.ingest.ingest(directory, corpus="benchmark", model_name=NAME)
            found = [
                evaluate(services.query, judged, bm25_weight=bm25, vector_weight=vector).measures.ndcg_at_10
                for bm25, vector in ((0, 1), (None, None))
            ]
        seconds = (job.finish_time.ToNanoseconds() - job.start_time.ToNanoseconds()) / 1e9
        passages = job.result.index.passage_count
        print(
            f"{directory.name} {precision}: nDCG@10 vectors {found[0]:.4f}, default {found[1]:.4f}; "
            f"{passages} passages ingested in {seconds:.0f} s",
            flush=True,
        )


def speed(abstracts: Sequence[str], models: Path) -> None:
    """Both precisions in turn: many texts, and one query."""
    encoders, times, processor = {}, defaultdict(list), defaultdict(list)
    for precision in PRECISIONS:
        reference = open_encoder(NAME, precision=precision)
        assert isinstance(reference, SentenceTransformerEncoder)
        directory = prepare(ModelStore(models), reference).model.directory
        encoders[precision] = FrozenEncoder(directory, name=NAME, identity=reference.identity)
    for _ in range(ROUNDS):
        for precision in random.sample(PRECISIONS, len(PRECISIONS)):
            for texts, repetitions in ((abstracts, 1), ([QUERY], 20)):
                for _ in range(repetitions):
                    start, used = time.perf_counter(), time.process_time()
                    encoders[precision].encode(texts)
                    times[precision, len(texts)].append(time.perf_counter() - start)
                    processor[precision, len(texts)].append(time.process_time() - used)
    for (precision, count), measured in sorted(times.items()):
        median, used = statistics.median(measured), statistics.median(processor[precision, count])
        print(
            f"{precision}: {count} texts in {median * 1000:.2f} ms, {count / median:.1f} texts/s; "
            f"processor {used * 1000:.2f} ms"
        )


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    for directory in options.directories:
        quality(directory, options.split)
    documents = map(json.loads, (options.directories[-1] / "corpus.jsonl").open())
    abstracts = [f"{row['title']}\n{row['text']}" for row in islice(documents, options.texts)]
    with TemporaryDirectory() as models:
        speed(abstracts, Path(models))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What int8 costs and gains.")
    parser.add_argument("directories", type=Path, nargs="+", help="collections in BEIR layout")
    parser.add_argument("--split", help="the judged split, where there are several")
    parser.add_argument("--texts", type=int, default=200, help="abstracts whose embedding is timed")
    main(parser.parse_args())
