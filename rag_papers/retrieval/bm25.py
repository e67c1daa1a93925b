"""BM25 Okapi, frozen into postings that hold ready-made scores.

The model is that of rank_bm25.BM25Okapi (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond", 2009, with k1 = 1.5, b = 0.75 and epsilon = 0.25):

    idf(t) = ln(N - n_t + 0.5) - ln(n_t + 0.5),   negative ones replaced by 0.25 times the mean idf
    score(q, d) = sum over t in q of idf(t) * f(t, d) * (k1 + 1) / (f(t, d) + k1 * (1 - b + b * |d| / avgdl))

The one deviation: where that idf is not positive, so that a match would not count or count against the passage, the
smaller of ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) and the least positive idf of the collection is used.
"""

import dataclasses
from array import array
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

K1 = 1.5
B = 0.75
EPSILON = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Postings:
    """The arrays of an index, V terms and P postings."""

    terms: npt.NDArray[np.uint8]
    """The terms in UTF-8, sorted bytewise, one after the other."""
    term_offsets: npt.NDArray[np.int64]
    """(V + 1,): where each term begins in `terms`."""
    offsets: npt.NDArray[np.int64]
    """(V + 1,): where each term's postings begin."""
    passages: npt.NDArray[np.int32]
    """(P,): positions of the passages that hold the term, ascending within a term."""
    scores: npt.NDArray[np.float32]
    """(P,): what the term adds to the passage's score, positive."""


def fit(passages: Iterable[Sequence[str]], on_progress: Callable[[int], None] | None = None) -> Postings:
    """The postings of passages given as their terms; `on_progress` is told how many passages are counted."""
    vocabulary: dict[str, int] = {}
    ids, lengths = array("i"), array("i")
    for terms in passages:
        ids.extend([vocabulary.setdefault(term, len(vocabulary)) for term in terms])
        lengths.append(len(terms))
        if on_progress and len(lengths) % 1024 == 0:
            on_progress(len(lengths))
    count = len(lengths)
    length = np.frombuffer(lengths, np.int32).astype(np.float64)

    # Number the terms in the order of their bytes, so that a reader finds one by bisection.
    encoded = sorted((term.encode("utf-8", "surrogatepass"), number) for term, number in vocabulary.items())
    rank = np.empty(len(encoded), np.int64)
    rank[[number for _, number in encoded]] = np.arange(len(encoded))
    term_of_token = rank[np.frombuffer(ids, np.int32)] if ids else np.empty(0, np.int64)
    passage_of_token = np.repeat(np.arange(count), length.astype(np.int64))
    pair, frequency = np.unique(term_of_token * max(count, 1) + passage_of_token, return_counts=True)
    term, passage = np.divmod(pair, max(count, 1))

    document_frequency = np.bincount(term, minlength=len(encoded))
    idf = _idf(document_frequency, count)
    norm = K1 * (1 - B + B * length / length.mean()) if ids else length
    scores = idf[term] * frequency * (K1 + 1) / (frequency + norm[passage])
    return Postings(
        terms=np.frombuffer(b"".join(term for term, _ in encoded), np.uint8),
        term_offsets=_starts([len(term) for term, _ in encoded]),
        offsets=_starts(document_frequency),
        passages=passage.astype(np.int32),
        scores=scores.astype(np.float32),
    )


def _idf(document_frequency: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    if not len(document_frequency):
        return np.empty(0)
    idf = np.log(count - document_frequency + 0.5) - np.log(document_frequency + 0.5)
    idf = np.where(idf < 0, EPSILON * idf.mean(), idf)
    positive = idf[idf > 0]
    floor = np.log1p((count - document_frequency + 0.5) / (document_frequency + 0.5))
    return np.where(idf > 0, idf, np.minimum(floor, positive.min()) if len(positive) else floor)


def _starts(lengths: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)


class Bm25:
    """Scores passages from postings."""

    def __init__(self, postings: Postings, passage_count: int) -> None:
        self._postings = postings
        self._passage_count = passage_count

    def scores(self, terms: Iterable[str]) -> npt.NDArray[np.float32]:
        """(passage_count,): the score of every passage; a term that is repeated counts each time."""
        scores = np.zeros(self._passage_count, np.float32)
        for term in terms:
            number = self._number(term.encode("utf-8", "surrogatepass"))
            if number is not None:
                start, end = self._postings.offsets[number : number + 2]
                scores[self._postings.passages[start:end]] += self._postings.scores[start:end]
        return scores

    def idf(self, term: str) -> float:
        """How rare `term` is: ln(1 + (N - n + 0.5) / (n + 0.5)), positive; largest for a term that does not occur."""
        number = self._number(term.encode("utf-8", "surrogatepass"))
        frequency = 0 if number is None else int(np.diff(self._postings.offsets[number : number + 2])[0])
        return float(np.log1p((self._passage_count - frequency + 0.5) / (frequency + 0.5)))

    def _number(self, term: bytes) -> int | None:
        low, high = 0, len(self._postings.term_offsets) - 1
        while low < high:
            middle = (low + high) // 2
            found = self._term(middle)
            if found == term:
                return middle
            low, high = (middle + 1, high) if found < term else (low, middle)
        return None

    def _term(self, number: int) -> bytes:
        start, end = self._postings.term_offsets[number : number + 2]
        return self._postings.terms[start:end].tobytes()
