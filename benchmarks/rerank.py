"""What each way to rerank does to nDCG@10 on a collection in BEIR layout, against the fused ranking left as it is.

    python benchmarks/rerank.py DIRECTORY [SPLIT]

All ways rerank the same passages, as many as a question retrieves by default. Documents are ranked by their best
passage; a collection with answer_spans.jsonl (whole papers) is judged by passages instead. Behind each gain stands its
95 % interval by a paired bootstrap over the queries. Embedding all sentences takes minutes; RAG_CACHE_DIR keeps their
vectors for another run.
"""

import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ir_measures
import numpy as np
import numpy.typing as npt
from fusion import by_spans
from services import running_services

from query_service.config import AskConfig
from query_service.encoders import CallVectors, Encoders
from query_service.evidence import Coverage, RankedPassage, heading_terms, sentences_of
from query_service.question import Question, detect
from query_service.rerankers import BUILT_IN
from query_service.rerankers.base import Retrieved
from query_service.stop import Stop
from rag_client.evaluation import collection
from rag_papers.persist.caching import BYPASS, USE, CachePolicy
from rag_papers.persist.index_store import OpenIndex
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.search import search
from rag_papers.settings import Settings

RESAMPLES = 10_000
TIMED = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """What a passage can be scored by, each in [0, 1]; cosines and coverages are the best of its sentences'."""

    fused: float
    cosine: float
    cosine_top2: float
    """Mean of the two best."""
    cosine_covering: float
    """Best of the three sentences that cover most."""
    coverage: float
    coverage_headings: float
    """With title and headings."""
    coverage_pairs: float
    """Of two sentences in a row."""


def features(retrieved: Retrieved, passage: RankedPassage) -> Features:
    assert retrieved.vectors
    sentences, coverage = passage.sentences, retrieved.coverage
    above = heading_terms(passage.record.title, passage.record.section)
    vectors = retrieved.vectors.texts([sentence.text for sentence in sentences])
    cosines = np.maximum(vectors @ retrieved.vectors.query(retrieved.question.text), 0)
    covered = np.array([coverage.of(above | sentence.terms) for sentence in sentences])
    alone = [coverage.of(sentence.terms) for sentence in sentences]
    pairs = [coverage.of(a.terms | b.terms) for a, b in itertools.pairwise(sentences)]
    return Features(
        fused=passage.score,
        cosine=float(cosines.max(initial=0)),
        cosine_top2=float(np.sort(cosines)[-2:].mean()) if len(cosines) else 0.0,
        cosine_covering=float(cosines[np.argsort(-covered, kind="stable")[:3]].max(initial=0)),
        coverage=max(alone, default=0.0),
        coverage_headings=float(covered.max(initial=0)),
        coverage_pairs=max(pairs or alone, default=0.0),
    )


WAYS: dict[str, Callable[[Features], float]] = {
    "coverage alone": lambda f: f.coverage_headings,
    "cosine alone": lambda f: f.cosine,
    "fused + coverage": lambda f: f.fused + f.coverage_headings,
    "2 fused + coverage": lambda f: 2 * f.fused + f.coverage_headings,
    "2 fused + coverage of pairs": lambda f: 2 * f.fused + f.coverage_pairs,
    "2 fused + cosine": lambda f: 2 * f.fused + f.cosine,
    "2 fused + mean of 2 cosines": lambda f: 2 * f.fused + f.cosine_top2,
    "fused + cosine + coverage": lambda f: f.fused + f.cosine + f.coverage_headings,
    "2 fused + cosine + coverage": lambda f: 2 * f.fused + f.cosine + f.coverage_headings,
    "2 fused + cosine + own coverage": lambda f: 2 * f.fused + f.cosine + f.coverage,
    "4 fused + coverage": lambda f: 4 * f.fused + f.coverage_headings,
    "4 fused + cosine": lambda f: 4 * f.fused + f.cosine,
    "4 fused + cosine + coverage": lambda f: 4 * f.fused + f.cosine + f.coverage_headings,
    "6 fused + cosine + coverage": lambda f: 6 * f.fused + f.cosine + f.coverage_headings,
    "4 fused + cosine of 3 + coverage": lambda f: 4 * f.fused + f.cosine_covering + f.coverage_headings,
}


def main(directory: Path, split: str | None) -> None:
    with running_services() as services:
        job = services.ingest.ingest(directory, corpus="benchmark")
        index = OpenIndex(services.data / "indexes" / job.result.index.corpus_id)
        by_passage = (directory / "answer_spans.jsonl").exists()
        records = [index.passage(position) for position in range(index.manifest.passage_count)]
        judged = collection.read(directory, split)
        judgements = by_spans(directory, records) if by_passage else judged.judgements
        queries = {query_id: text for query_id, text in judged.queries.items() if query_id in judgements}
        paths = DataPaths.of(Settings.load({"data_dir": str(services.data)}))
        store = SqliteStore(paths.cache_db)
        encoders = Encoders(store, ModelStore(paths.models))

        def ranked(passages: Sequence[RankedPassage], scores: Sequence[float]) -> dict[str, float]:
            order = sorted(zip(scores, passages, strict=True), key=lambda pair: (-pair[0], pair[1].candidate.position))
            names = [p.record.passage_id if by_passage else p.record.document_id for _, p in order]
            return {name: -float(rank) for rank, name in enumerate(dict.fromkeys(names))}

        runs: dict[str, dict[str, dict[str, float]]] = {label: {} for label in [*BUILT_IN, *WAYS]}
        for query_id, text in queries.items():
            retrieved = retrieve(index, encoders, text, USE)
            for label, reranker in BUILT_IN.items():
                runs[label][query_id] = ranked(retrieved.passages, reranker.scores(retrieved))
            found = [features(retrieved, passage) for passage in retrieved.passages]
            for label, way in WAYS.items():
                runs[label][query_id] = ranked(retrieved.passages, [way(one) for one in found])
        values = {label: by_query(run, judgements) for label, run in runs.items()}
        print(f"{directory.name}: {len(queries)} queries, {index.manifest.passage_count} passages")
        for label, scores in values.items():
            gain = scores - values["none"]
            low, high = interval(gain)
            print(f"  {label:34s} {scores.mean():.4f}  {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
        for label, policy in (("embedding the sentences", BYPASS), ("with their vectors cached", USE)):
            median = cost(index, encoders, list(queries.values())[:TIMED], policy)
            print(f"  best-sentence, median: {median:.1f} ms {label}")
        store.close()


def retrieve(index: OpenIndex, encoders: Encoders, text: str, policy: CachePolicy) -> Retrieved:
    """What a question with the default settings gives to its reranker."""
    config = AskConfig()
    vectors = CallVectors(encoders, index.manifest, policy, Stop())
    found = search(
        index, text, vectors.query(text), bm25_weight=config.bm25_weight, vector_weight=config.vector_weight,
        top_k=config.top_k_first,
    )  # fmt: skip
    passages = []
    for candidate in found:
        record = index.passage(candidate.position)
        sentences = sentences_of(record)
        passages.append(RankedPassage(candidate=candidate, record=record, score=candidate.score, sentences=sentences))
    question = Question(text=text, intent=detect(text))
    return Retrieved(
        question=question,
        passages=passages,
        coverage=Coverage(question.terms, index.bm25.idf),
        vectors=vectors,
        stop=Stop(),
    )


def by_query(
    run: Mapping[str, Mapping[str, float]], judgements: Mapping[str, Mapping[str, int]]
) -> npt.NDArray[np.float64]:
    """nDCG@10 of every query, in the order of `run`."""
    values = {one.query_id: one.value for one in ir_measures.iter_calc([ir_measures.nDCG @ 10], judgements, run)}
    return np.array([values[query_id] for query_id in run])


def interval(gain: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Between which two values the mean gain lies in 95 % of the resamples."""
    generator = np.random.default_rng(0)
    means = [gain[generator.integers(0, len(gain), len(gain))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def cost(index: OpenIndex, encoders: Encoders, queries: Sequence[str], policy: CachePolicy) -> float:
    """Median milliseconds of one rerank, the query's vector being known already."""
    times = []
    for text in queries:
        retrieved = retrieve(index, encoders, text, policy)
        start = time.perf_counter()
        BUILT_IN["best-sentence"].scores(retrieved)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
