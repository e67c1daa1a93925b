"""What each way to fuse BM25 and vectors does to nDCG@10 on a collection in BEIR layout.

    python benchmarks/fusion.py DIRECTORY [SPLIT]

Documents are ranked by their best passage. A collection with answer_spans.jsonl (whole papers) is judged by passages
instead: those are relevant that overlap the answer.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from services import running_services

from rag_client.evaluation import collection, lines
from rag_client.evaluation.measures import Measures
from rag_papers.persist.index_store import OpenIndex, PassageRecord
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.encoders import open_encoder

Scores = npt.NDArray[np.float64]
Judgements = Mapping[str, Mapping[str, int]]


def main(directory: Path, split: str | None) -> None:
    with running_services() as services:
        job = services.ingest.ingest(directory, corpus="benchmark")
        index = OpenIndex(services.data / "indexes" / job.result.index.corpus_id)
        records = [index.passage(position) for position in range(index.manifest.passage_count)]
        spans = directory / "answer_spans.jsonl"
        by_passage = spans.exists()
        names = np.array([record.passage_id if by_passage else record.document_id for record in records])
        judged = collection.read(directory, split)
        judgements = by_spans(directory, records) if by_passage else judged.judgements
        queries = {query_id: text for query_id, text in judged.queries.items() if query_id in judgements}
        vectors = open_encoder(index.manifest.model_name).encode(list(queries.values()))
        print(f"{directory.name}: {len(queries)} queries, {len(records)} passages")
        sides = {}
        for (query_id, text), vector in zip(queries.items(), vectors, strict=True):
            words = terms(text)
            sides[query_id] = [
                *(
                    index.bm25.scores(words, delta=delta) / (index.bm25.bound(words, delta=delta) or 1)
                    for delta in DELTAS
                ),
                np.maximum(index.vectors @ vector, 0),
            ]
        for label, fuse in FUSIONS.items():
            rankings = {}
            for query_id, scored in sides.items():
                scores = fuse(*(side.astype(np.float64) for side in scored))
                best_first = names[np.argsort(-scores, kind="stable")]
                rankings[query_id] = list(dict.fromkeys(best_first[:1000].tolist()))
            print(f"  {label:34s} {Measures.of(rankings, judgements).ndcg_at_10:.4f}")


def min_max(scores: Scores) -> Scores:
    span = scores.max() - scores.min()
    return (scores - scores.min()) / span if span else scores * 0


def standard(scores: Scores) -> Scores:
    return (scores - scores.mean()) / (scores.std() or 1)


def reciprocal_rank(scores: Scores) -> Scores:
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return 1 / (60 + ranks)


DELTAS = (0.0, 0.5, 1.0, 1.5)  # of BM25+; 0 is BM25

# Of BM25 and BM25+ as shares of their bounds, for each of DELTAS, and of the cosines, negative ones as 0.
FUSIONS: dict[str, Callable[[Scores, Scores, Scores, Scores, Scores], Scores]] = {
    "BM25 alone": lambda bm25, half, plus, more, cosine: bm25,
    "BM25+ alone": lambda bm25, half, plus, more, cosine: plus,
    "vectors alone": lambda bm25, half, plus, more, cosine: cosine,
    "reciprocal rank, k = 60": lambda bm25, half, plus, more, cosine: reciprocal_rank(bm25) + reciprocal_rank(cosine),
    "min-max, 0.5 / 0.5": lambda bm25, half, plus, more, cosine: min_max(bm25) + min_max(cosine),
    "min-max, 0.4 / 0.6": lambda bm25, half, plus, more, cosine: 0.4 * min_max(bm25) + 0.6 * min_max(cosine),
    "z-score, 0.5 / 0.5": lambda bm25, half, plus, more, cosine: standard(bm25) + standard(cosine),
    "z-score, 0.3 / 0.7": lambda bm25, half, plus, more, cosine: 0.3 * standard(bm25) + 0.7 * standard(cosine),
    "bounded BM25, 0.5 / 0.5": lambda bm25, half, plus, more, cosine: bm25 + cosine,
    "bounded BM25, 0.6 / 0.4": lambda bm25, half, plus, more, cosine: 0.6 * bm25 + 0.4 * cosine,
    "bounded BM25+, delta 0.5": lambda bm25, half, plus, more, cosine: half + cosine,
    "bounded BM25+, delta 1 (default)": lambda bm25, half, plus, more, cosine: plus + cosine,
    "bounded BM25+, 0.4 / 0.6": lambda bm25, half, plus, more, cosine: 0.4 * plus + 0.6 * cosine,
    "bounded BM25+, 0.6 / 0.4": lambda bm25, half, plus, more, cosine: 0.6 * plus + 0.4 * cosine,
    "bounded BM25+, delta 1.5": lambda bm25, half, plus, more, cosine: more + cosine,
}


def by_spans(directory: Path, passages: Sequence[PassageRecord]) -> Judgements:
    """The passages that overlap an answer, by query."""
    texts = {row["_id"]: row["text"] for _, row in lines.read_objects(directory / "corpus.jsonl")}
    judgements: dict[str, dict[str, int]] = {}
    for _, row in lines.read_objects(directory / "answer_spans.jsonl"):
        start, end = (len(texts[row["doc"]][: row[side]].encode()) for side in ("start", "end"))
        for passage in passages:
            if passage.document_id == row["doc"] and passage.start_byte < end and passage.end_byte > start:
                judgements.setdefault(row["qid"], {})[passage.passage_id] = 1
    return judgements


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
