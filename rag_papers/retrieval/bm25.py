"""BM25 Okapi, frozen into postings that hold ready-made scores.

The model is that of rank_bm25.BM25Okapi (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond", 2009, with k1 = 1.5, b = 0.75 and epsilon = 0.25):

    idf(t) = ln(N - n_t + 0.5) - ln(n_t + 0.5),   negative ones replaced by 0.25 times the mean idf
    score(q, d) = sum over t in q of idf(t) * f(t, d) * (k1 + 1) / (f(t, d) + k1 * (1 - b + b * |d| / avgdl))

BM25+ adds delta * idf(t) for every term of the query that the passage has, so that a long passage which has it is told
from one which has not (Lv & Zhai, "Lower-Bounding Term Frequency Normalization", 2011).

The one deviation: where that idf is not positive, so that a match would not count or count against the passage, the
smaller of ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) and the least positive idf of the collection is used.
"""

import bisect
import dataclasses
import functools
import itertools
import math
import operator
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

K1 = 1.5
B = 0.75
EPSILON = 0.25

_CHUNK_TOKENS = 1 << 19  # terms that are counted together: bounds the memory beyond the postings themselves
_RUN = 1 << 14  # terms that are looked up in one call, which keeps Python's lock from the thread that sorts
_TOGETHER = 1 << 14  # postings that are added in one call
_REMEMBERED_TERMS = 1 << 12  # whose places in the postings are kept at hand


@dataclasses.dataclass(frozen=True, kw_only=True)
class Postings:
    """The arrays of an index, V terms and P postings."""

    hashes: npt.NDArray[np.uint64]
    """(V,): XXH3-64 of the terms, ascending."""
    terms: npt.NDArray[np.uint8]
    """The terms in UTF-8, in the order of their hashes, of equal ones in that of the passages, one after the other."""
    term_offsets: npt.NDArray[np.int64]
    """(V + 1,): where each term begins in `terms`."""
    offsets: npt.NDArray[np.int64]
    """(V + 1,): where each term's postings begin."""
    passages: npt.NDArray[np.int32]
    """(P,): positions of the passages that hold the term, ascending within a term."""
    scores: npt.NDArray[np.float32]
    """(P,): what the term adds to the passage's score, positive."""


class _Chunk(NamedTuple):
    """Counted terms of a run of passages, by term and passage, in the narrowest numbers that hold them."""

    terms: npt.NDArray[np.int32]
    """Those that occur, each once."""
    runs: npt.NDArray[np.int32]
    """How many passages hold each of them."""
    first: int
    """Position of the first passage."""
    passages: npt.NDArray[np.unsignedinteger]
    """The passages that hold the terms, ascending within a term, counted from `first`."""
    frequencies: npt.NDArray[np.unsignedinteger]
    """How often a passage holds the term."""


def fit(passages: Iterable[Sequence[str]], on_progress: Callable[[int], None] | None = None) -> Postings:
    """The postings of passages given as their terms; `on_progress` is told how many passages are counted.

    Reads `passages` once and needs 11 bytes or little more for each posting, besides the vocabulary.
    """
    vocabulary: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    lengths, chunks = _count(passages, vocabulary, on_progress)
    encoded = [_encode(term) for term in vocabulary]
    hashes = np.fromiter(map(_hash, encoded), np.uint64, len(encoded))
    order = np.argsort(hashes, kind="stable")
    encoded = [encoded[number] for number in order]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    document_frequency = np.zeros(len(encoded), np.int64)
    for chunk in chunks:
        document_frequency[rank[chunk.terms]] += chunk.runs
    idf = _idf(document_frequency, len(lengths))
    norm = K1 * (1 - B + B * lengths / (lengths.mean() or 1)) if len(lengths) else lengths
    offsets = _starts(document_frequency)
    next_place = offsets[:-1].copy()
    postings = Postings(
        hashes=hashes[order],
        terms=np.frombuffer(b"".join(encoded), np.uint8),
        term_offsets=_starts([len(data) for data in encoded]),
        offsets=offsets,
        passages=np.empty(offsets[-1], np.int32),
        scores=np.empty(offsets[-1], np.float32),
    )
    for chunk in chunks:
        # A chunk's passages follow those of the chunk before it, so that each term's run goes behind its last one.
        term = rank[chunk.terms]
        place = np.repeat(next_place[term] - _starts(chunk.runs)[:-1], chunk.runs)
        place += np.arange(len(place))
        next_place[term] += chunk.runs
        passages = chunk.passages + np.int32(chunk.first)
        frequency = chunk.frequencies.astype(np.float64)
        postings.passages[place] = passages
        postings.scores[place] = np.repeat(idf[term], chunk.runs) * frequency * (K1 + 1) / (frequency + norm[passages])
    return postings


def _count(
    passages: Iterable[Sequence[str]], vocabulary: Mapping[str, int], on_progress: Callable[[int], None] | None
) -> tuple[npt.NDArray[np.float64], list[_Chunk]]:
    """The passages' lengths in terms, and their counted terms, numbered by `vocabulary`, which gives every term one."""
    lengths = array("i")
    with ThreadPoolExecutor(1) as pool:  # numpy sorts one batch while the terms of the next are looked up
        chunks: list[Future[_Chunk]] = []
        for batch in _batches(passages, on_progress):
            size = np.array([len(terms) for terms in batch], np.int32)
            found = _numbers(itertools.chain.from_iterable(batch), vocabulary)
            if len(chunks) > 1:
                chunks[-2].result()  # so that no more than two batches are on their way
            chunks.append(pool.submit(_chunk, found, size, len(lengths), len(vocabulary)))
            lengths.frombytes(size.tobytes())
        return np.array(lengths, np.float64), [chunk.result() for chunk in chunks]


def _numbers(terms: Iterator[str], vocabulary: Mapping[str, int]) -> npt.NDArray[np.int32]:
    """The numbers of `terms` by `vocabulary`."""
    numbers = array("i")
    while run := tuple(itertools.islice(terms, _RUN)):
        # An itemgetter looks all up in one call, in C; of a single term it makes no tuple.
        found = operator.itemgetter(*run)(vocabulary) if len(run) > 1 else (vocabulary[run[0]],)
        numbers.extend(array("i", found))
    return np.frombuffer(numbers, np.int32)


def _chunk(numbers: npt.NDArray[np.int32], size: npt.NDArray[np.int32], first: int, vocabulary_size: int) -> _Chunk:
    """Counts the terms, given by number, of passages of `size` terms each."""
    # Term and passage as one number: sorted, equal ones are neighbours. Half the width sorts in half the time.
    width = np.uint32 if vocabulary_size * len(size) <= 1 << 32 else np.uint64
    pairs: npt.NDArray[np.unsignedinteger] = numbers.astype(width)
    pairs *= width(len(size))
    pairs += np.repeat(np.arange(len(size), dtype=width), size)
    pairs.sort()
    begins = np.flatnonzero(np.diff(pairs, prepend=~pairs[:1]))
    term, place = np.divmod(pairs[begins], width(len(size)))
    frequencies = np.diff(begins, append=len(pairs))
    starts = np.flatnonzero(np.diff(term, prepend=~term[:1]))
    return _Chunk(
        terms=term[starts].astype(np.int32),
        runs=np.diff(starts, append=len(term)).astype(np.int32),
        first=first,
        passages=_narrow(place, len(size)),
        frequencies=_narrow(frequencies, int(frequencies.max(initial=0))),
    )


def _narrow(numbers: npt.NDArray[np.integer], largest: int) -> npt.NDArray[np.unsignedinteger]:
    return numbers.astype(np.min_scalar_type(largest))


def _batches(
    passages: Iterable[Sequence[str]], on_progress: Callable[[int], None] | None
) -> Iterator[list[Sequence[str]]]:
    """`passages` in runs of about `_CHUNK_TOKENS` terms."""
    batch: list[Sequence[str]] = []
    held = 0
    for number, terms in enumerate(passages, start=1):
        batch.append(terms)
        held += len(terms)
        if held >= _CHUNK_TOKENS:
            yield batch
            batch, held = [], 0
        if on_progress and number % 1024 == 0:
            on_progress(number)
    if batch:
        yield batch


def _idf(document_frequency: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    if not len(document_frequency):
        return np.empty(0)
    idf = np.log(count - document_frequency + 0.5) - np.log(document_frequency + 0.5)
    idf = np.where(idf < 0, EPSILON * idf.mean(), idf)
    positive = idf[idf > 0]
    floor = np.log1p((count - document_frequency + 0.5) / (document_frequency + 0.5))
    return np.where(idf > 0, idf, np.minimum(floor, positive.min()) if len(positive) else floor)


def _starts(lengths: Sequence[int] | npt.NDArray[np.signedinteger]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)


class Bm25:
    """Scores passages from postings. Safe to use from several threads."""

    def __init__(self, postings: Postings, passage_count: int) -> None:
        self._postings = postings
        self._passage_count = passage_count
        # Single numbers come out of a memoryview ten times as fast as out of an array.
        self._hashes, self._terms = postings.hashes.data, postings.terms.data
        self._term_offsets, self._offsets = postings.term_offsets.data, postings.offsets.data
        # Questions repeat their words, and a search asks for each twice.
        self._run = functools.lru_cache(maxsize=_REMEMBERED_TERMS)(self._find)

    def scores(self, terms: Iterable[str], *, delta: float = 0.0) -> npt.NDArray[np.float32]:
        """(passage_count,): the score of every passage; a term that is repeated counts each time.

        With a `delta` that of BM25+, without one that of BM25.
        """
        scores = np.zeros(self._passage_count, np.float32)
        passages, values, count = [], [], 0
        for term in terms:
            begin, end = self._run(term)
            added = self._postings.scores[begin:end]
            passages.append(self._postings.passages[begin:end])
            values.append(added + np.float32(delta * self.idf(term)) if delta else added)
            count += end - begin
        if 0 < count <= _TOGETHER:  # of so few the calls cost more than the numbers
            passages, values = [np.concatenate(passages)], [np.concatenate(values)]
        for places, added in zip(passages, values, strict=True):
            # Faster than +=, which gathers and scatters.
            np.add.at(scores, places.astype(np.intp), added)
        return scores

    def scores_at(self, terms: Iterable[str], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(len(positions),): the bits that `scores` has at `positions`, without a look at the other passages."""
        scores = np.zeros(len(positions), np.float32)
        for begin, end in map(self._run, terms):
            if begin < end:
                run = self._postings.passages[begin:end]
                places = np.minimum(np.searchsorted(run, positions), len(run) - 1)
                scores += np.where(run[places] == positions, self._postings.scores[begin:end][places], np.float32(0))
        return scores

    def bound(self, terms: Iterable[str], *, delta: float = 0.0) -> float:
        """What a passage would score that held every term countless times: the sum of idf(t) * (k1 + 1 + delta)."""
        return (K1 + 1 + delta) * sum(map(self.idf, terms))

    def idf(self, term: str) -> float:
        """How rare `term` is: ln(1 + (N - n + 0.5) / (n + 0.5)), positive; largest for a term that does not occur."""
        begin, end = self._run(term)
        return math.log1p((self._passage_count - (end - begin) + 0.5) / (end - begin + 0.5))

    def _find(self, term: str) -> tuple[int, int]:
        """Where the postings of `term` begin and end; (0, 0) for one that does not occur."""
        data = _encode(term)
        wanted = _hash(data)
        number = bisect.bisect_left(self._hashes, wanted)
        while number < len(self._hashes) and self._hashes[number] == wanted:
            if self._terms[self._term_offsets[number] : self._term_offsets[number + 1]] == data:
                return self._offsets[number], self._offsets[number + 1]
            number += 1
        return 0, 0


def _encode(term: str) -> bytes:
    return term.encode("utf-8", "surrogatepass")


_hash = xxhash.xxh3_64_intdigest
