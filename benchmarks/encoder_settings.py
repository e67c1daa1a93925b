"""How a frozen model is best run: tokens of a batch, and several batches at once or one with all threads.

    python benchmarks/encoder_settings.py SCIFACT_DIRECTORY [--abstracts N] [--rounds N]

Prints medians of time and of processor time, the settings in turn.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.encoders import SentenceTransformerEncoder, frozen, open_encoder

NAME = "all-MiniLM-L6-v2"
BUDGETS = (128, 256, 512, 1024)


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    documents = map(json.loads, (options.directory / "corpus.jsonl").open())
    abstracts = [f"{row['title']}\n{row['text']}" for row in islice(documents, options.abstracts)]
    reference = open_encoder(NAME)
    assert isinstance(reference, SentenceTransformerEncoder)
    times, processor = defaultdict(list), defaultdict(list)
    with TemporaryDirectory() as models:
        directory = prepare(ModelStore(Path(models)), reference).model.directory
        encoders = {
            at_once: frozen.FrozenEncoder(directory, name=NAME, identity=reference.identity, at_once=at_once)
            for at_once in {1, frozen.cores()}
        }
        for encoder in encoders.values():
            encoder.encode(abstracts[:1])
        settings = list(itertools.product(encoders, BUDGETS))
        for _ in range(options.rounds):
            for at_once, budget in random.sample(settings, len(settings)):
                frozen.TOKENS = budget
                start, used = time.perf_counter(), time.process_time()
                encoders[at_once].encode(abstracts)
                times[at_once, budget].append(time.perf_counter() - start)
                processor[at_once, budget].append(time.process_time() - used)
    for at_once, budget in settings:
        print(
            f"{at_once} batches of {budget} tokens at once: {statistics.median(times[at_once, budget]):.2f} s, "
            f"processor {statistics.median(processor[at_once, budget]):.2f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How a frozen model is best run.")
    parser.add_argument("directory", type=Path, help="a collection in BEIR layout")
    parser.add_argument("--abstracts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
