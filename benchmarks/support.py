"""How well the verifier's support score tells supported claims from others, on the claims of SciFact.

    python benchmarks/support.py DIRECTORY

DIRECTORY is SciFact in BEIR layout with the evidence of its claims as metadata of the queries. Pairs of a claim and
sentences: its evidence where that supports it (SUPPORT), its evidence where that contradicts it (CONTRADICT), and, for
each supported pair, as many sentences of the other paper most like the claim (by BM25), those nearest to it by cosine
(OTHER). Prints the AUC of SUPPORT against either: for single features, for the logistic estimate fitted in ten folds by
claim, for the estimate with the weights of query_service/support.py, and for what the claim's words alone give, its
annotators having negated many of them to make the contradicted ones. At last the weights fitted on all pairs.
Embedding takes minutes; RAG_CACHE_DIR keeps the vectors for another run.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from query_service.verification.clashes import Stated
from query_service.verification.facts import directions, negations
from query_service.verification.support import estimate, features
from rag_client.evaluation import lines
from rag_papers.persist.caching import USE
from rag_papers.persist.embedding_cache import CachingEncoder
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.sentences import sentences
from rag_papers.settings import Settings

MODEL = "all-MiniLM-L6-v2"
FOLDS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A claim, and sentences that have or have not to do with it."""

    claim_id: str
    claim: str
    label: str
    evidence: tuple[str, ...]


def main(directory: Path) -> None:
    store = SqliteStore(DataPaths.of(Settings.load({})).cache_db)
    vectors = Vectors(CachingEncoder(open_encoder(MODEL), store))
    papers = {row["_id"]: row for _, row in lines.read_objects(directory / "corpus.jsonl")}
    claims = [row for _, row in lines.read_objects(directory / "queries.jsonl") if row["metadata"]]
    pairs = list(judged_pairs(claims, papers, vectors))
    labels = np.array([pair.label for pair in pairs])
    print(", ".join(f"{(labels == label).sum()} {label}" for label in ("SUPPORT", "CONTRADICT", "OTHER")))
    idf = {term: np.log(len(papers) / count) for term, count in document_frequency(papers).items()}
    found = [measured(pair, vectors, idf) for pair in pairs]
    names = list(found[0])
    table = np.array([[row[name] for name in names] for row in found])
    report("coverage", np.array([coverage(pair, idf) for pair in pairs]), labels)
    report("cosine", table[:, names.index("nearness")], labels)
    folds = folds_of([pair.claim_id for pair in pairs])
    report("fitted", cross_validated(table, labels, folds), labels)
    report("as in the code", np.array([estimate(row) for row in found]), labels)
    report(
        "claim's words", cross_validated(np.array([words_alone(pair.claim) for pair in pairs]), labels, folds), labels
    )
    model = logistic(table, labels)
    print({name: round(float(weight), 2) for name, weight in zip(names, model.coef_[0], strict=True)}, model.intercept_)
    store.close()


class Vectors:
    """Vectors of texts, as the verifier wants them."""

    def __init__(self, encoder: CachingEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def texts(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        missing = [text for text in texts if text not in self._known]
        if missing:
            self._known.update(zip(missing, self._encoder.encode(missing, USE).vectors, strict=True))
        return np.array([self._known[text] for text in texts])


def judged_pairs(
    claims: Sequence[Mapping[str, Any]], papers: Mapping[str, Mapping[str, Any]], vectors: Vectors
) -> Iterator[Pair]:
    of = {paper: [row["text"][s.start : s.end] for s in sentences(row["text"])] for paper, row in papers.items()}
    bm25 = Bm25(fit(terms(f"{row['title']} {row['text']}") for row in papers.values()), len(papers))
    for row in claims:
        for paper, sets in row["metadata"].items():
            numbers = sorted({number for each in sets for number in each["sentences"]})
            if numbers[-1] >= len(of[paper]):
                continue  # split otherwise than by its annotators
            evidence = tuple(of[paper][number] for number in numbers)
            pair = Pair(claim_id=row["_id"], claim=row["text"], label=sets[0]["label"], evidence=evidence)
            yield pair
            if pair.label == "SUPPORT":
                order = np.argsort(-bm25.scores(terms(row["text"])), kind="stable")
                other = next(name for name in (list(of)[place] for place in order) if name not in row["metadata"])
                near = vectors.texts(of[other]) @ vectors.texts([row["text"]])[0]
                nearest = tuple(of[other][place] for place in np.argsort(-near, kind="stable")[: len(evidence)])
                yield dataclasses.replace(pair, label="OTHER", evidence=nearest)


def document_frequency(papers: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in papers.values():
        for term in set(terms(f"{row['title']} {row['text']}")):
            counts[term] = counts.get(term, 0) + 1
    return counts


def coverage(pair: Pair, idf: Mapping[str, float]) -> float:
    claim, found = Stated(text=pair.claim), Stated(text=" ".join(pair.evidence))
    weights = {term: 1 + idf.get(term, 0.0) for term in claim.terms}
    return sum(weight for term, weight in weights.items() if term in found.terms_with_headings) / sum(weights.values())


def measured(pair: Pair, vectors: Vectors, idf: Mapping[str, float]) -> dict[str, float]:
    """The features of the sentences together; of nearness and leaning the largest."""
    claim = Stated(text=pair.claim)
    whole = features(claim, Stated(text=" ".join(pair.evidence)), coverage(pair, idf), vectors)
    each = [features(claim, Stated(text=text), 0.0, vectors) for text in pair.evidence]
    return whole | {name: max(row[name] for row in each) for name in ("nearness", "leaning")}


def words_alone(claim: str) -> list[float]:
    up, down = directions(claim)
    return [float(negations(claim) > 0), float(up > 0), float(down > 0), min(1.0, len(claim) / 200)]


def folds_of(claim_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    names, of = np.unique(np.array(claim_ids), return_inverse=True)
    fold: npt.NDArray[np.int64] = np.random.default_rng(0).permutation(len(names))[of] % FOLDS
    return fold


def cross_validated(
    table: npt.NDArray[np.float64], labels: npt.NDArray[np.str_], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    scores = np.zeros(len(table))
    for fold in range(FOLDS):
        model = logistic(table[folds != fold], labels[folds != fold])
        scores[folds == fold] = model.decision_function(table[folds == fold])
    return scores


def logistic(table: npt.NDArray[np.float64], labels: npt.NDArray[np.str_]) -> LogisticRegression:
    """Supported against the two others, which count as much as one another."""
    weights = np.ones(len(labels))
    for label in ("OTHER", "CONTRADICT"):
        weights[labels == label] = 0.5 * (labels == "SUPPORT").sum() / (labels == label).sum()
    return LogisticRegression(max_iter=1000).fit(table, labels == "SUPPORT", sample_weight=weights)


def report(name: str, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.str_]) -> None:
    against = []
    for other in ("OTHER", "CONTRADICT"):
        among = (labels == "SUPPORT") | (labels == other)
        against.append(f"{other} {roc_auc_score(labels[among] == 'SUPPORT', scores[among]):.3f}")
    print(f"  {name:16s} AUC against {', '.join(against)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
