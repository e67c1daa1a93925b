"""Embedding against sentence-transformers on the same weights, both sides in one process, in turn.

    python benchmarks/encoder.py query
    python benchmarks/encoder.py abstracts SCIFACT_DIRECTORY [--texts N]
    python benchmarks/encoder.py mixed SCIFACT_DIRECTORY [--texts N]

`abstracts` and `mixed` go through their texts in slices, each side in turn, and print a line a slice: what one slice
measures of the machine, it measures for both. sentence-transformers has the threads, and with abstracts the batch, at
which it is fastest here and now. Before each turn comes a rest, as queries come; `query` also measures one right after
another, and shows sentence-transformers with every number of threads, by default as many as there are cores. What a
caller of QueryService sees, `benchmarks/encoder_service.py` measures.
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from quiet import Neighbours

from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.cores import cores
from rag_papers.retrieval.encoders import SentenceTransformerEncoder, open_encoder
from rag_papers.retrieval.encoders.frozen import FrozenEncoder

NAME = "all-MiniLM-L6-v2"
BATCHES = (4, 8, 16, 32, 64)
QUERY = "how do residual connections help gradients in deep networks"  # 12 tokens with the marks of the model

_REST = 0.05
"""Seconds in which the threads of the other side, which spin for a while after their work, go to sleep."""

Side = Callable[[Sequence[str]], np.ndarray]


class Race:
    """Sides that do the same work in turn, in a new order each time."""

    def __init__(self, sides: Mapping[str, Side], *, warm: bool = False) -> None:
        """With `warm` a turn is measured right after another of the same side."""
        self._sides = sides
        self._warm = warm
        self._neighbours = Neighbours()
        self._times: dict[str, list[float]] = {name: [] for name in sides}
        self._processor: dict[str, list[float]] = {name: [] for name in sides}

    def run(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """What each side makes of texts."""
        made = {}
        for name in random.sample(list(self._sides), len(self._sides)):
            time.sleep(_REST)
            if self._warm:
                self._sides[name](texts)
            start, used = time.perf_counter(), time.process_time()
            made[name] = self._sides[name](texts)
            self._times[name].append(time.perf_counter() - start)
            self._processor[name].append(time.process_time() - used)
        return made

    def print(self, title: str) -> None:
        """Sums and medians of each side, and what it takes of the first one."""
        for kind, measured in (("time", self._times), ("processor", self._processor)):
            first, *_ = measured.values()
            for name, each in measured.items():
                median = statistics.median(side / ours for ours, side in zip(first, each, strict=True))
                print(
                    f"{title}, {kind}, {name}: {sum(each):.2f} s in all ({sum(each) / sum(first):.2f} x), "
                    f"median {statistics.median(each) * 1000:.2f} ms ({median:.2f} x)",
                    flush=True,
                )
        print(f"{title}: others kept {self._neighbours.cores():.2f} cores busy", flush=True)


def theirs(reference: SentenceTransformerEncoder, texts: Sequence[str], size: int, threads: int) -> np.ndarray:
    """sentence-transformers' own way with many texts."""
    import torch

    torch.set_num_threads(threads)
    return np.asarray(
        reference.model.encode(list(texts), batch_size=size, normalize_embeddings=True, show_progress_bar=False)
    )


def best(reference: SentenceTransformerEncoder, texts: Sequence[str], sizes: Sequence[int]) -> tuple[int, int]:
    """The batch size and the number of threads at which sentence-transformers is fastest, of three tries."""
    times: dict[tuple[int, int], float] = {}
    for _ in range(3):
        for setting in itertools.product(sizes, range(1, cores() + 1)):
            start = time.perf_counter()
            theirs(reference, texts, *setting)
            times[setting] = min(times.get(setting, math.inf), time.perf_counter() - start)
    return min(times, key=lambda setting: times[setting])


def race_of(ours: FrozenEncoder, reference: SentenceTransformerEncoder, setting: tuple[int, int]) -> Race:
    size, threads = setting
    print(f"sentence-transformers at batches of {size} with {threads} threads", flush=True)
    return Race({"ours": ours.encode, "sentence-transformers": partial(theirs, reference, size=size, threads=threads)})


def one(rounds: int, ours: FrozenEncoder, reference: SentenceTransformerEncoder) -> None:
    """One query, after a rest and right after another, with each number of threads sentence-transformers may have."""
    sides: dict[str, Side] = {"ours": ours.encode}
    for threads in range(1, cores() + 1):
        sides[f"sentence-transformers, threads: {threads}"] = partial(theirs, reference, size=1, threads=threads)
    races = {"after a rest": Race(sides), "right after another": Race(sides, warm=True)}
    for _, race in itertools.product(range(rounds), races.values()):
        race.run([QUERY])
    for title, race in races.items():
        race.print(f"one query of 12 tokens {title}")


def many(texts: Sequence[str], slice_: int, race: Race) -> None:
    """All `texts`, a slice at a time."""
    least = 1.0
    for start in range(0, len(texts), slice_):
        part = texts[start : start + slice_]
        made = race.run(part)
        least = min(least, np.vecdot(*(each.astype(np.float64) for each in made.values())).min())
        race.print(f"{start + len(part)} of {len(texts)} texts")
    print(f"least cosine between the sides over {len(texts)} texts: {least:.8f}", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def abstracts_of(directory: Path) -> list[str]:
    return [f"{row['title']}\n{row['text']}" for row in read(directory / "corpus.jsonl")]


def mixed_texts(directory: Path, count: int, slice_: int) -> list[str]:
    """Queries and abstracts, half each, a fifth of every slice twice."""
    dice, abstracts = random.Random(0), abstracts_of(directory)
    queries = [row["text"] for row in read(directory / "queries.jsonl")]
    mixed: list[str] = []
    while len(mixed) < count:
        length = min(slice_, count - len(mixed))
        part = [
            dice.choice(abstracts if row % 2 else queries) + f" {len(mixed) + row}" for row in range(length * 4 // 5)
        ]
        part += dice.choices(part, k=length - len(part))
        dice.shuffle(part)
        mixed += part
    return mixed


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    reference = open_encoder(NAME)
    assert isinstance(reference, SentenceTransformerEncoder)
    with TemporaryDirectory() as models:
        directory = prepare(ModelStore(Path(models)), reference).model.directory
        ours = FrozenEncoder(directory, name=NAME, identity=reference.identity)
        ours.encode([QUERY])
        reference.encode([QUERY])
        match options.work:
            case "query":
                one(options.rounds, ours, reference)
            case "abstracts":
                texts = abstracts_of(options.directory)[: options.texts]
                many(texts, options.slice, race_of(ours, reference, best(reference, texts[:24], BATCHES)))
            case "mixed":
                texts = mixed_texts(options.directory, options.texts, options.slice)
                many(texts, options.slice, race_of(ours, reference, best(reference, texts[:64], [32])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Embedding against sentence-transformers.")
    works = parser.add_subparsers(dest="work", required=True)
    works.add_parser("query", help="one query").add_argument("--rounds", type=int, default=200)
    for name, default in (("abstracts", 5183), ("mixed", 10_000)):
        work = works.add_parser(name)
        work.add_argument("directory", type=Path, help="a collection in BEIR layout")
        work.add_argument("--texts", type=int, default=default)
        work.add_argument("--slice", type=int, default=650, help="texts that each side does in one turn")
    main(parser.parse_args())
