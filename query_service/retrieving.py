"""Retrieval for one call: the retrieval cache before the search."""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from query_service.config import SearchConfig
from query_service.encoders import CallVectors
from query_service.flights import Flights
from query_service.stop import Stop
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.claims import Claims
from rag_papers.persist.index_store import OpenIndex
from rag_papers.persist.retrieval_cache import RetrievalCache, RetrievalKey
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.cores import cores
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.fusion import Candidate
from rag_papers.retrieval.search import search

_SMALL_NUMBERS = 1 << 20  # of all vectors of an index: as bytes they are compared with a query within some 0.05 ms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """A ranking and where it came from."""

    candidates: Sequence[Candidate]
    """Best first."""
    hit: bool
    """It came from the retrieval cache."""
    age_ms: int
    """How long ago it was stored; 0 if it was computed now."""
    query_parts: int = 0
    """Parts that the query was embedded in; 0 where vectors had no weight."""


class CacheUse(NamedTuple):  # made for every answer from the cache, and a dataclass that is frozen takes thrice as long
    """What the caches contributed to a call."""

    answer_hit: bool = False
    retrieval_hit: bool = False
    """Every ranking came from the retrieval cache."""
    embed_hits: int = 0
    embed_misses: int = 0
    age_ms: int = 0
    """Age of the answer, or of the oldest ranking, that was reused; 0 without a hit."""
    is_revalidated: bool = False
    """The answer's text is that of another version of the corpus, which led to the same evidence."""

    @classmethod
    def of(cls, rankings: Sequence[Ranking], vectors: CallVectors | None) -> Self:
        """Of a call that retrieved `rankings` and used `vectors`."""
        hit = all(ranking.hit for ranking in rankings)
        return cls(
            retrieval_hit=hit,
            embed_hits=vectors.hits if vectors else 0,
            embed_misses=vectors.misses if vectors else 0,
            age_ms=max(ranking.age_ms for ranking in rankings) if hit else 0,
        )


class Rankings:
    """The retrieval cache, and the rankings that are being made: of equal ones at once, one is."""

    def __init__(self, store: SqliteStore, claims: Claims | None = None) -> None:
        self.cache = RetrievalCache(store)
        self.flights = Flights[Ranking](claims)
        self._turns = threading.Semaphore(cores())

    def turn(self, index: OpenIndex) -> contextlib.AbstractContextManager[object]:
        """For a search of `index`: of a small one no more are under way than there are cores.

        Such a search is a hundred short steps, and threads that take them at once wake each other at most of these. A
        large index is searched outside of Python, for several queries together.
        """
        numbers = index.manifest.passage_count * index.manifest.dim
        return self._turns if numbers <= _SMALL_NUMBERS else contextlib.nullcontext()


def retrieve(
    rankings: Rankings,
    index: OpenIndex,
    query: str,
    filter: Filter,
    config: SearchConfig,
    vectors: CallVectors | None,
    policy: CachePolicy,
    stop: Stop,
) -> Ranking:
    """The best passages for `query` that `filter` lets through; the query is normalised.

    `vectors` is needed only where they have weight. Raises DeadlineExceeded.
    """
    approximate = approximately(index, filter, config.exact)
    key = RetrievalKey(
        query=query,
        corpus_id=index.corpus_id,
        filter=filter,
        top_k=config.top_k,
        bm25_weight=float(config.bm25_weight),
        vector_weight=float(config.vector_weight),
        approximate=approximate,
    )
    stored = _stored(rankings, key, index) if policy.read else None
    if stored:
        return stored

    def make() -> Ranking:
        if policy.read and (stored := _stored(rankings, key, index)):  # by another process meanwhile
            return stored
        used = vectors if config.vector_weight else None
        vector = used.query(query) if used else None
        among = index.positions(filter) if filter else None
        with rankings.turn(index):
            candidates = search(
                index,
                query,
                vector,
                bm25_weight=config.bm25_weight,
                vector_weight=config.vector_weight,
                top_k=config.top_k,
                among=among,
                exact=not approximate,
            )
        query_parts = used.query_parts if used else 0
        if policy.write:
            rankings.cache.put(key, candidates, query_parts)
        return Ranking(candidates=candidates, hit=False, age_ms=0, query_parts=query_parts)

    if not policy.write:
        return make()
    made, own = rankings.flights.run(key.digest() + bytes([policy.read]), stop, make)
    return made if own else dataclasses.replace(made, hit=True)


def _stored(rankings: Rankings, key: RetrievalKey, index: OpenIndex) -> Ranking | None:
    stored = rankings.cache.get(key)
    if not stored or not _fits(stored.candidates, index, key.top_k):
        return None
    return Ranking(
        candidates=stored.candidates, hit=True, age_ms=age_ms(stored.created), query_parts=stored.query_parts
    )


def approximately(index: OpenIndex, filter: Filter, exact: bool) -> bool:
    """Whether the approximate index may find the candidates of a call; it may from one call to the next."""
    return index.vector_search.approximate and not exact and not filter


def age_ms(created: float) -> int:
    """Milliseconds since `created`, seconds since the epoch; not negative when the clock was set back."""
    return max(0, round((time.time() - created) * 1000))


def _fits(candidates: Sequence[Candidate], index: OpenIndex, top_k: int) -> bool:
    """Whether a stored ranking can be one of this index; a damaged one is no better than none."""
    count = index.manifest.passage_count
    return len(candidates) <= top_k and all(
        isinstance(candidate.position, int)
        and 0 <= candidate.position < count
        and all(isinstance(score, float) and math.isfinite(score) for score in candidate[1:])
        for candidate in candidates
    )
