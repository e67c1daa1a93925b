"""Embedding against sentence-transformers on the same weights, both sides in one run, alternately.

    python benchmarks/encoder.py SCIFACT_DIRECTORY [--abstracts N] [--texts N] [--queries N] [--starts N]

Prints medians and ratios: one query; abstracts; a mixture with duplicates; the start of QueryService to its first
answer, with its memory; queries that come at once.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from services import running_services

from rag_client import QueryClient
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.encoders import SentenceTransformerEncoder, open_encoder
from rag_papers.retrieval.encoders.frozen import FrozenEncoder, cores

NAME = "all-MiniLM-L6-v2"
BATCHES = (4, 8, 16, 32, 64)
QUERY = "how do residual connections help gradients in deep networks today"
REFERENCE = """
import resource, sys, time
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], local_files_only=True)
model.encode([sys.argv[2]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

Side = Callable[[], object]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def compare(title: str, sides: Mapping[str, Side], rounds: int) -> None:
    """Runs the sides in turn, in a new order each round; prints medians of time and of processor time, and what the
    others take of the last one's. On a busy machine the latter holds, where nobody waits in a loop for another thread.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            start, used = time.perf_counter(), time.process_time()
            sides[name]()
            times[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - used)
    report(title, {name: statistics.median(measured) for name, measured in times.items()})
    report(f"{title}, processor", {name: statistics.median(measured) for name, measured in processor.items()})


def report(title: str, medians: Mapping[str, float]) -> None:
    *_, last = medians.values()
    shown = "; ".join(f"{name} {value * 1000:.2f} ms ({last / value:.2f} x)" for name, value in medians.items())
    print(f"{title}: {shown}", flush=True)


def best(reference: SentenceTransformerEncoder, texts: Sequence[str], sizes: Sequence[int]) -> tuple[int, int]:
    """The batch size and the number of threads at which sentence-transformers is fastest here and now."""
    speeds = {}
    for threads in range(1, cores() + 1):
        for size in sizes:
            start = time.perf_counter()
            plain(reference, texts, size, threads)
            speeds[size, threads] = time.perf_counter() - start
    return min(speeds, key=lambda setting: speeds[setting])


def plain(reference: SentenceTransformerEncoder, texts: Sequence[str], size: int, threads: int) -> np.ndarray:
    import torch

    torch.set_num_threads(threads)
    return np.asarray(
        reference.model.encode(list(texts), batch_size=size, normalize_embeddings=True, show_progress_bar=False)
    )


def computing(options: argparse.Namespace, directory: Path, reference: SentenceTransformerEncoder) -> None:
    one = FrozenEncoder(directory, name=NAME, identity=reference.identity)
    many = FrozenEncoder(directory, name=NAME, identity=reference.identity, at_once=cores())
    documents = read_lines(options.directory / "corpus.jsonl")
    abstracts = [f"{row['title']}\n{row['text']}" for row in documents][: options.abstracts]
    queries = [row["text"] for row in read_lines(options.directory / "queries.jsonl")]
    for encoder in (one, many, reference):
        encoder.encode([QUERY])
    _, threads = best(reference, [QUERY], [1] * 5)
    compare(
        f"one query of 12 tokens, sentence-transformers with {threads} threads",
        {"ours": lambda: one.encode([QUERY]), "sentence-transformers": lambda: plain(reference, [QUERY], 1, threads)},
        options.queries,
    )
    size, threads = best(reference, abstracts[:32], BATCHES)
    made: dict[str, np.ndarray] = {}
    compare(
        f"{len(abstracts)} abstracts, sentence-transformers at batches of {size} with {threads} threads",
        {
            "ours": lambda: made.update(ours=many.encode(abstracts)),
            "sentence-transformers": lambda: made.update(reference=plain(reference, abstracts, size, threads)),
        },
        options.rounds,
    )
    cosines = (made["ours"].astype(np.float64) * made["reference"]).sum(axis=1)
    print(f"least cosine over {len(abstracts)} abstracts: {cosines.min():.7f}")
    dice = random.Random(0)
    different = [dice.choice(abstracts if number % 2 else queries) + f" {number}" for number in range(options.texts)]
    mixed = different[: options.texts * 4 // 5]
    mixed += dice.choices(mixed, k=options.texts - len(mixed))
    dice.shuffle(mixed)
    compare(
        f"{len(mixed)} short and long texts, 20 % duplicates",
        {
            "ours": lambda: many.encode(mixed),
            "sentence-transformers": lambda: plain(reference, mixed, 32, threads),
        },
        options.rounds,
    )


def starting(options: argparse.Namespace, data: Path, model: str) -> None:
    """QueryService from its start to its first answer that no cache knows, against the library alone."""
    times: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    memory: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    for number in range(options.starts):
        start = time.perf_counter()
        command = [sys.executable, "-m", "query_service", "--data-dir", str(data), "--query-address", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
            assert service.stdout
            address = service.stdout.readline().split()[-1]
            with QueryClient(address) as query:
                query.search(f"{QUERY} {number}", use_cache=False)
            times["ours"].append(time.perf_counter() - start)
            memory["ours"].append(resident(service.pid))
            service.terminate()
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", REFERENCE, model, QUERY], capture_output=True, text=True, check=True
        )
        times["sentence-transformers"].append(time.perf_counter() - start)
        memory["sentence-transformers"].append(float(done.stdout) / 1024)
    report("process start to the first answer", {name: statistics.median(each) for name, each in times.items()})
    shown = {name: statistics.median(each) for name, each in memory.items()}
    print("; ".join(f"{name} {each:.0f} MiB" for name, each in shown.items()), flush=True)


def resident(process: int) -> float:
    """Most memory that a process has had, MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def together(query: QueryClient, rounds: int) -> None:
    """16 searches at once against one after the other, over gRPC, past the caches."""

    def one(text: str) -> None:
        query.search(text, use_cache=False, vector_weight=1.0, bm25_weight=0.0)

    texts = [f"{QUERY} {number}" for number in range(16)]
    one(QUERY)
    with ThreadPoolExecutor(16) as pool:
        compare(
            "16 queries over gRPC",
            {"at once": lambda: list(pool.map(one, texts)), "one by one": lambda: [one(text) for text in texts]},
            rounds,
        )


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sample = Path(__file__).parents[1] / "data" / "corpus"
    reference = open_encoder(NAME)
    assert isinstance(reference, SentenceTransformerEncoder)
    with running_services() as services:
        job = services.ingest.ingest(sample, corpus="sample", model_name=NAME)
        assert job.HasField("result"), job
        together(services.query, options.rounds * 5)
        starting(options, services.data, str(reference.files.path))
        store = ModelStore(services.data / "models")
        computing(options, prepare(store, reference).model.directory, reference)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Embedding against sentence-transformers.")
    parser.add_argument("directory", type=Path, help="a collection in BEIR layout")
    parser.add_argument("--abstracts", type=int, default=5183)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200, help="repetitions of the single query")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of the long ones")
    parser.add_argument("--starts", type=int, default=5)
    main(parser.parse_args())
