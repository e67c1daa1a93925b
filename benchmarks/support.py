"""How well the verifier's support score tells supported claims from others, on the claims of SciFact.

    python benchmarks/support.py DIRECTORY

DIRECTORY is SciFact in BEIR layout with the evidence of its claims as metadata of the queries. Pairs of a claim and
sentences of a paper: its evidence where that supports it (SUPPORT), its evidence where that contradicts it
(CONTRADICT), and, for each supported pair, of each of the ten papers most like the claim (by BM25, without those
judged for it) as many sentences, those nearest to the claim by cosine (OTHER). Prints the AUC of SUPPORT against
either, with a 95 % interval by a bootstrap over claims: for two plain scores, word overlap and cosine; for logistic
estimates fitted in ten folds by claim, of how likely sentences are about the claim, of how likely they go its way, and
the product of both, beside one estimate of all features; for the scores that the verifier gives with the weights of
query_service/verification/support.py; and for what the claim's words alone give, its annotators having negated many
of them to make the contradicted ones. At last the weights fitted on all pairs. Embedding takes minutes; RAG_CACHE_DIR
keeps the vectors for another run.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from query_service.evidence import sentences_of
from query_service.verification.clashes import Stated
from query_service.verification.facts import directions, negations
from query_service.verification.support import ABOUT, AGREES, Context, Idf, Logistic, Support, features
from rag_client.evaluation import lines
from rag_papers.persist.caching import USE
from rag_papers.persist.embedding_cache import CachingEncoder
from rag_papers.persist.index_store import PassageRecord
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.sentences import sentences
from rag_papers.settings import Settings

Floats = npt.NDArray[np.float64]

MODEL = "all-MiniLM-L6-v2"
FOLDS = 10
OTHERS = 10
RESAMPLES = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A claim, and sentences that have or have not to do with it."""

    claim_id: str
    claim: str
    label: str
    title: str
    """Of the paper that the sentences are from."""
    evidence: tuple[str, ...]


def main(directory: Path) -> None:
    store = SqliteStore(DataPaths.of(Settings.load({})).cache_db)
    vectors = Vectors(CachingEncoder(open_encoder(MODEL), store))
    papers = {row["_id"]: row for _, row in lines.read_objects(directory / "corpus.jsonl")}
    claims = [row for _, row in lines.read_objects(directory / "queries.jsonl") if row["metadata"]]
    pairs = list(judged_pairs(claims, papers, vectors))
    labels = np.array([pair.label for pair in pairs])
    print(", ".join(f"{(labels == label).sum()} {label}" for label in ("SUPPORT", "CONTRADICT", "OTHER")))
    counts = document_frequency(papers)
    idf = lambda term: float(np.log(len(papers) / counts.get(term, 1)))  # noqa: E731
    supports = [support(pair, vectors, idf) for pair in pairs]
    found = [measured(pair, each, vectors) for pair, each in zip(pairs, supports, strict=True)]
    names = list(found[0])
    table = np.array([[row[name] for name in names] for row in found])
    claim_of = np.unique(np.array([pair.claim_id for pair in pairs]), return_inverse=True)[1]
    folds = np.random.default_rng(0).permutation(claim_of.max() + 1)[claim_of] % FOLDS

    def columns(among: Iterable[str]) -> Floats:
        return table[:, [names.index(name) for name in among]]

    judged = labels != "OTHER"
    about = cross_validated(columns(ABOUT.weights), judged, labels, folds)
    way = cross_validated(columns(AGREES.weights), labels == "SUPPORT", labels, folds, judged)
    words = np.array([words_alone(pair.claim) for pair in pairs])
    for name, scores in {
        "overlap": np.array([overlap(pair) for pair in pairs]),
        "cosine": np.array([cosine(pair, vectors) for pair in pairs]),
        "fitted, all": cross_validated(columns(names), labels == "SUPPORT", labels, folds),
        "fitted, about": about,
        "fitted, way": way,
        "fitted, about x way": about * way,
        "support": np.array([each.score for each in supports]),
        "agreement": np.array([each.agreement for each in supports]),
        "claim's words": cross_validated(words, labels == "SUPPORT", labels, folds),
    }.items():
        print(f"  {name:18s} AUC against " + ", ".join(against(scores, labels, claim_of)))
    show("about", ABOUT, logistic(columns(ABOUT.weights), judged, labels))
    show("agreement", AGREES, logistic(columns(AGREES.weights)[judged], (labels == "SUPPORT")[judged], labels[judged]))
    store.close()


def show(name: str, estimate: Logistic, model: LogisticRegression) -> None:
    weights = dict(zip(estimate.weights, model.coef_[0].round(2).tolist(), strict=True))
    print(f"  weights of {name}: {weights}, intercept {model.intercept_[0]:.2f}")


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
            pair = Pair(
                claim_id=row["_id"],
                claim=row["text"],
                label=sets[0]["label"],
                title=papers[paper]["title"],
                evidence=evidence,
            )
            yield pair
            if pair.label == "SUPPORT":
                order = np.argsort(-bm25.scores(terms(row["text"])), kind="stable")
                others = (name for name in (list(of)[place] for place in order) if name not in row["metadata"])
                for other in itertools.islice(others, OTHERS):
                    near = vectors.texts(of[other]) @ vectors.texts([row["text"]])[0]
                    nearest = np.argsort(-near, kind="stable")[: len(evidence)]
                    evidence_of_other = tuple(of[other][place] for place in nearest)
                    title = papers[other]["title"]
                    yield dataclasses.replace(pair, label="OTHER", title=title, evidence=evidence_of_other)


def document_frequency(papers: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in papers.values():
        for term in set(terms(f"{row['title']} {row['text']}")):
            counts[term] = counts.get(term, 0) + 1
    return counts


def overlap(pair: Pair) -> float:
    """Share of the claim's content words that occur in the sentences."""
    wanted = set(terms(pair.claim))
    return len(wanted.intersection(terms(" ".join(pair.evidence)))) / len(wanted)


def cosine(pair: Pair, vectors: Vectors) -> float:
    """Of the claim and the sentence that is nearest to it."""
    own, *others = vectors.texts([pair.claim, *pair.evidence])
    return float(max(np.array(others) @ own))


def support(pair: Pair, vectors: Vectors, idf: Idf) -> Support:
    """What the verifier has to say, with the sentences as its context."""
    text = "\n\n".join(pair.evidence)
    record = PassageRecord(
        passage_id="", document_id="", title=pair.title, path="", section="", first_page=0, last_page=0,
        start_byte=0, end_byte=len(text.encode()), text=text,
    )  # fmt: skip
    return Context({1: sentences_of(record)}, idf, vectors).support(pair.claim)


def measured(pair: Pair, found: Support, vectors: Vectors) -> dict[str, float]:
    """The features of the stretch that the verifier chose."""
    text = " ".join(sentence.text for sentence in found.stretch)
    return features(Stated(text=pair.claim), Stated(text=text, title=pair.title), found.coverage, vectors)


def words_alone(claim: str) -> list[float]:
    up, down = directions(claim)
    return [float(negations(claim) > 0), float(up > 0), float(down > 0), min(1.0, len(claim) / 200)]


def cross_validated(
    table: Floats,
    wanted: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.str_],
    folds: npt.NDArray[np.int64],
    on: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Probabilities of all pairs, each by a fit on the other folds, or on those pairs of them that are `on`."""
    scores = np.zeros(len(table))
    for fold in range(FOLDS):
        others = (folds != fold) if on is None else (folds != fold) & on
        model = logistic(table[others], wanted[others], labels[others])
        scores[folds == fold] = model.predict_proba(table[folds == fold])[:, 1]
    return scores


def logistic(table: Floats, wanted: npt.NDArray[np.bool_], labels: npt.NDArray[np.str_]) -> LogisticRegression:
    """Those `wanted` against the others, which count as much; on either side each label as much as any other."""
    weights = np.zeros(len(labels))
    for side in (wanted, ~wanted):
        kinds = np.unique(labels[side])
        for kind in kinds:
            among = side & (labels == kind)
            weights[among] = len(labels) / len(kinds) / among.sum() / 2
    return LogisticRegression(max_iter=1000).fit(table, wanted, sample_weight=weights)


def against(scores: Floats, labels: npt.NDArray[np.str_], claim_of: npt.NDArray[np.int64]) -> list[str]:
    """The AUC of SUPPORT against the two others, each with its interval."""
    said = []
    members = [np.flatnonzero(claim_of == claim) for claim in range(claim_of.max() + 1)]
    draws = np.random.default_rng(0).integers(0, len(members), (RESAMPLES, len(members)))
    for other in ("OTHER", "CONTRADICT"):
        among = (labels == "SUPPORT") | (labels == other)

        def auc(rows: npt.NDArray[np.int64], among: npt.NDArray[np.bool_] = among) -> float:
            rows = rows[among[rows]]
            return float(roc_auc_score(labels[rows] == "SUPPORT", scores[rows]))

        low, high = np.percentile(
            [auc(np.concatenate([members[claim] for claim in draw])) for draw in draws], [2.5, 97.5]
        )
        said.append(f"{other} {auc(np.arange(len(labels))):.3f} [{low:.3f}, {high:.3f}]")
    return said


if __name__ == "__main__":
    main(Path(sys.argv[1]))
