"""Whether answers to comparisons take up both sides, with passages retrieved for each side and without.

    python benchmarks/comparisons.py DIRECTORY

DIRECTORY is a collection in BEIR layout. The questions are made: "What is the difference between A and B?", of names
that occur in at least five sentences each and in none together, 200 random pairs. Prints the share of questions where
both sides occur in the sources, and in the sentences of the answer; the same of one plan and the other; and how much
longer it takes. Embedding takes minutes; RAG_CACHE_DIR keeps the vectors for another run.
"""

import itertools
import random
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services import running_services

from query_service.answering import Answerer, Ask
from query_service.catalog import Catalog
from query_service.config import AskConfig
from query_service.encoders import Encoders
from query_service.generators import Generators
from query_service.plan import PLANS
from query_service.question import Intent
from query_service.rerankers import Rerankers
from query_service.retrieving import Rankings
from query_service.stop import Stop
from query_service.verification.entailment import NONE, EntailmentByName
from rag_client.evaluation import lines
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.sentences import sentences
from rag_papers.settings import Settings

PAIRS = 200
FEWEST = 5
POLICY = CachePolicy(read=True, write=True)
_NAME = re.compile(r"\b[A-Z][\w-]*[A-Z0-9][\w-]*\b")


def main(directory: Path) -> None:
    pairs = sample(directory)
    plans: dict[Intent, Any] = PLANS  # type: ignore[assignment]  # which is changed here alone
    ways = {"for the question alone": PLANS[Intent.EXPLANATION], "for each side too": PLANS[Intent.COMPARISON]}
    with running_services() as services:
        services.ingest.ingest(directory, corpus="benchmark")
        settings = Settings.load({"data_dir": str(services.data)})
        paths = DataPaths.of(settings)
        store = SqliteStore(paths.cache_db)
        answerer = Answerer(
            catalog=Catalog(Corpora(paths.corpora), paths.indexes),
            encoders=Encoders(store, ModelStore(paths.models)),
            rerankers=Rerankers(),
            generators=Generators(settings),
            entailment=EntailmentByName(NONE),
            rankings=Rankings(store),
        )
        found: dict[str, list[tuple[bool, bool, float]]] = defaultdict(list)
        for number, pair in enumerate(pairs):
            for way in sorted(ways, reverse=bool(number % 2)):
                plans[Intent.COMPARISON] = ways[way]
                found[way].append(compared(answerer, pair))
        store.close()
    report(found)


def sample(directory: Path) -> list[tuple[str, str]]:
    """Pairs of names."""
    occurs: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for _, row in lines.read_objects(directory / "corpus.jsonl"):
        for span in sentences(row["text"]):
            for name in _NAME.findall(row["text"], span.start, span.end):
                occurs[name].add((row["_id"], span.start))
    names = sorted(name for name, places in occurs.items() if len(places) >= FEWEST)
    apart = [(a, b) for a, b in itertools.combinations(names, 2) if not occurs[a] & occurs[b]]
    return random.Random(0).sample(apart, PAIRS)


def compared(answerer: Answerer, pair: Sequence[str]) -> tuple[bool, bool, float]:
    """Whether both sides occur in the sources, whether in the answer, and its seconds."""
    ask = Ask(
        query=f"What is the difference between {pair[0]} and {pair[1]}?",
        intent=Intent.COMPARISON,
        intent_detected=True,
        corpus="",
        corpus_id="",
        filter=Filter(),
        config=AskConfig(abstain_threshold=0.0),
        policy=POLICY,
    )
    start = time.perf_counter()
    answer = answerer.answer(ask, answerer.means(ask), POLICY, Stop()).answer
    took = time.perf_counter() - start
    sources = " ".join(passage.record.text for passage in answer.sources)
    return all(name in sources for name in pair), all(name in answer.text for name in pair), took


def report(found: Mapping[str, Sequence[tuple[bool, bool, float]]]) -> None:
    for way, values in found.items():
        sources, answers, seconds = zip(*values, strict=True)
        print(
            f"passages {way}: both sides in the sources of {statistics.mean(sources):.3f}, in the answer of "
            f"{statistics.mean(answers):.3f}; {statistics.median(seconds) * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
