"""How onnxruntime is best run: threads that share a batch, or a thread a batch.

    python benchmarks/encoder_settings.py SCIFACT_DIRECTORY [--abstracts N] [--rounds N]

The settings in turn: one query of 12 tokens after a rest, as queries come, and right after another; and abstracts in
batches of one length. Prints quartiles of the query's time, and medians of the abstracts'.
"""

import argparse
import json
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from encoder import NAME, QUERY
from onnxruntime import InferenceSession, SessionOptions
from quiet import Neighbours
from tokenizers import Tokenizer

from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.cores import cores
from rag_papers.retrieval.encoders import SentenceTransformerEncoder, open_encoder
from rag_papers.retrieval.encoders.batching import of_equal_length
from rag_papers.retrieval.encoders.frozen import GRAPH, TOKENIZER

REST = 0.05
SPIN = "session.intra_op.spin_duration_us"
SETTINGS = {
    "one thread": (1, {}),
    "all threads, which sleep": (cores(), {SPIN: "0"}),
    "all threads, which spin for 20 us": (cores(), {SPIN: "20"}),
    "all threads, which spin": (cores(), {}),
    "all threads, which spin until the query is done": (cores(), {"session.force_spinning_stop": "1"}),
}
BUDGETS = (128, 256, 512, 1024)


def opened(directory: Path, setting: str) -> InferenceSession:
    threads, entries = SETTINGS[setting]
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return InferenceSession(str(directory / GRAPH), options, providers=["CPUExecutionProvider"])


def queries(sessions: dict[str, InferenceSession], ids: Sequence[int], rounds: int) -> None:
    batch = np.array([ids], np.int64)
    for rest in (REST, 0.0):
        for setting, session in sessions.items():
            times = []
            for _ in range(rounds):
                time.sleep(rest)
                start = time.perf_counter()
                session.run(None, {"input_ids": batch})
                times.append((time.perf_counter() - start) * 1000)
            shown = " / ".join(f"{quartile:.2f}" for quartile in statistics.quantiles(times, n=4))
            print(f"one query {'after a rest' if rest else 'after another'}, {setting}: {shown} ms", flush=True)
            time.sleep(2 * REST)


def many(sessions: dict[str, InferenceSession], texts: Sequence[Sequence[int]], rounds: int) -> None:
    lengths, times = [len(ids) for ids in texts], defaultdict(list)
    settings = [(at_once, budget) for at_once in (1, cores()) for budget in BUDGETS]
    for _ in range(rounds):
        for at_once, budget in random.sample(settings, len(settings)):
            session = sessions["one thread" if at_once > 1 else "all threads, which spin for 20 us"]
            batches = [np.array([texts[row] for row in batch]) for batch in of_equal_length(lengths, budget)]
            start = time.perf_counter()
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(session.run, [None] * len(batches), [{"input_ids": ids} for ids in batches]))
            times[at_once, budget].append(time.perf_counter() - start)
    for (at_once, budget), each in sorted(times.items()):
        print(f"{at_once} batches of {budget} tokens at once: {statistics.median(each):.2f} s", flush=True)


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    documents = map(json.loads, (options.directory / "corpus.jsonl").open())
    abstracts = [f"{row['title']}\n{row['text']}" for row in islice(documents, options.abstracts)]
    reference = open_encoder(NAME)
    assert isinstance(reference, SentenceTransformerEncoder)
    with TemporaryDirectory() as models:
        directory = prepare(ModelStore(Path(models)), reference).model.directory
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(256)
        sessions = {setting: opened(directory, setting) for setting in SETTINGS}
        neighbours = Neighbours()
        queries(sessions, tokenizer.encode(QUERY).ids, options.queries)
        many(sessions, [encoding.ids for encoding in tokenizer.encode_batch(abstracts)], options.rounds)
        print(f"others kept {neighbours.cores():.2f} cores busy")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How onnxruntime is best run.")
    parser.add_argument("directory", type=Path, help="a collection in BEIR layout")
    parser.add_argument("--abstracts", type=int, default=64)
    parser.add_argument("--queries", type=int, default=60, help="repetitions of the query")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of the abstracts")
    main(parser.parse_args())
