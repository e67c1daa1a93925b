"""Whether the sentences that answers cite hold the answer, against simpler ways to choose sentences.

    python benchmarks/answers.py DIRECTORY

DIRECTORY is a collection in BEIR layout with answer_spans.jsonl (whole papers). Prints the share of questions for
which the first, any of the first three, any of the first five cited sentences overlap the answer: over all papers,
and with the right paper given as a filter. All ways answer the same questions in the same run; behind each stands its
gain over the strongest of the simpler ones, with a 95 % interval by a paired bootstrap over papers. Embedding all
sentences takes minutes; RAG_CACHE_DIR keeps their vectors for another run.
"""

import dataclasses
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from services import running_services

from query_service.encoders import CallVectors, Encoders
from query_service.evidence import Coverage, Sentence, sentences_of
from query_service.question import Question, detect
from query_service.stop import Stop
from rag_client import QueryClient
from rag_client.evaluation import collection, lines
from rag_papers.persist.caching import USE
from rag_papers.persist.index_store import OpenIndex
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.search import search
from rag_papers.settings import Settings
from rag_papers.v1.query_pb2 import AskConfig
from rag_papers.v1.query_pb2 import Filter as FilterMessage

Place = tuple[str, int, int]
"""Document, first byte, byte after the last."""
Floats = npt.NDArray[np.float64]

FIRST = (1, 3, 5)
PASSAGES = 8
RESAMPLES = 10_000
TO_BEAT = "0.4 cosine + 0.5 coverage + 0.1 passage score"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choosable:
    """A sentence of the best passages and what the simpler ways choose by."""

    sentence: Sentence
    passage: float
    cosine: float
    coverage: float


WAYS: Mapping[str, Callable[[Choosable], float]] = {
    "best by cosine": lambda s: s.cosine,
    "best by coverage": lambda s: s.coverage,
    TO_BEAT: lambda s: 0.4 * s.cosine + 0.5 * s.coverage + 0.1 * s.passage,
}


def main(directory: Path) -> None:
    spans = read_spans(directory)
    with running_services() as services:
        job = services.ingest.ingest(directory, corpus="benchmark")
        index = OpenIndex(services.data / "indexes" / job.result.index.corpus_id)
        paths = DataPaths.of(Settings.load({"data_dir": str(services.data)}))
        store = SqliteStore(paths.cache_db)
        encoders = Encoders(store, ModelStore(paths.models))
        questions = {
            query_id: text for query_id, text in collection.read(directory, None).queries.items() if query_id in spans
        }
        papers = [spans[query_id][0][0] for query_id in questions]
        for given in (False, True):
            hits: dict[str, list[list[float]]] = defaultdict(list)
            lengths = []
            for query_id, text in questions.items():
                paper = spans[query_id][0][0] if given else None
                for way, places in simple_ways(index, encoders, text, paper).items():
                    hits[way].append(overlaps(places, spans[query_id]))
                cited = answered(services.query, text, paper)
                lengths.append(len(cited))
                hits["Ask"].append(overlaps(cited, spans[query_id]))
            print(f"{'the right paper' if given else 'all papers'}: {len(questions)} questions")
            report({way: np.array(values) for way, values in hits.items()}, papers)
            print(f"  sentences of an answer: median {statistics.median(lengths)}, mean {statistics.mean(lengths):.1f}")
        store.close()


def answered(client: QueryClient, text: str, paper: str | None) -> list[Place]:
    """What the sentences of an answer cite, in order; abstention is another matter, so that all are answered."""
    wanted = FilterMessage(document_ids=[paper]) if paper else None
    response = client.ask(text, filter=wanted, config=AskConfig(abstain_threshold=0))
    return [
        (citation.document_id, citation.start_byte, citation.end_byte)
        for sentence in response.sentences
        for citation in sentence.citations
    ]


def simple_ways(index: OpenIndex, encoders: Encoders, text: str, paper: str | None) -> dict[str, list[Place]]:
    """What each simpler way would cite."""
    vectors = CallVectors(encoders, index.manifest, USE, Stop())
    query = vectors.query(text)
    among = index.positions(Filter(document_ids=(paper,))) if paper else None
    found = search(index, text, query, bm25_weight=0.5, vector_weight=0.5, top_k=PASSAGES, among=among)
    question = Question(text=text, intent=detect(text))
    coverage = Coverage(question.terms, index.bm25.idf)
    passages = [(candidate.score, sentences_of(index.passage(candidate.position))) for candidate in found]
    different = {sentence.text: (score, sentence) for score, group in reversed(passages) for sentence in group}
    cosines = vectors.texts(list(different)) @ query
    choosable = [
        Choosable(sentence=sentence, passage=score, cosine=float(cosine), coverage=coverage.of(sentence.terms))
        for cosine, (score, sentence) in zip(cosines, different.values(), strict=True)
    ]
    chosen = {way: [s.sentence for s in sorted(choosable, key=lambda s: -value(s))] for way, value in WAYS.items()}
    chosen["lead sentences"] = [group[0] for _, group in passages if group]
    return {way: [place(sentence) for sentence in sentences] for way, sentences in chosen.items()}


def place(sentence: Sentence) -> Place:
    return sentence.record.document_id, sentence.start_byte, sentence.end_byte


def overlaps(places: Sequence[Place], spans: Sequence[Place]) -> list[float]:
    """Whether any of the first one, three, five places overlaps an answer."""
    good = [any(doc == d and start < e and end > s for d, s, e in spans) for doc, start, end in places]
    return [float(any(good[:first])) for first in FIRST]


def read_spans(directory: Path) -> dict[str, list[Place]]:
    """The answers by question, in bytes."""
    texts = {row["_id"]: row["text"] for _, row in lines.read_objects(directory / "corpus.jsonl")}
    spans: dict[str, list[Place]] = {}
    for _, row in lines.read_objects(directory / "answer_spans.jsonl"):
        start, end = (len(texts[row["doc"]][: row[side]].encode()) for side in ("start", "end"))
        spans.setdefault(row["qid"], []).append((row["doc"], start, end))
    return spans


def report(hits: Mapping[str, Floats], papers: Sequence[str]) -> None:
    for way, values in hits.items():
        gain = values - hits[TO_BEAT]
        intervals = zip(gain.mean(0), *interval(gain, papers), strict=True)
        gains = "  ".join(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" for mean, low, high in intervals)
        print(f"  {way:46s} {' / '.join(f'{share:.3f}' for share in values.mean(0))}   {gains}")


def interval(gain: Floats, papers: Sequence[str]) -> tuple[Floats, Floats]:
    """Between which values each mean gain lies in 95 % of the resamples of papers."""
    names, of = np.unique(np.array(papers), return_inverse=True)
    sums = np.zeros((len(names), gain.shape[1]))
    np.add.at(sums, of, gain)
    counts = np.bincount(of)
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


if __name__ == "__main__":
    main(Path(sys.argv[1]))
