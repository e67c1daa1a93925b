"""Searching: retrieval without an answer."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

from query_service.catalog import Catalog
from query_service.config import SearchConfig
from query_service.encoders import CallVectors, Encoders
from query_service.retrieving import CacheUse, Rankings, retrieve
from query_service.stop import Stop
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.fusion import Candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """A valid request for passages."""

    query: str
    """Normalised."""
    corpus: str
    corpus_id: str
    filter: Filter
    config: SearchConfig
    policy: CachePolicy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Passages, best first, and where they came from."""

    passages: Sequence[tuple[Candidate, PassageRecord]]
    corpus: str
    corpus_id: str
    query_parts: int
    """Parts that the query was embedded in; 0 where vectors had no weight."""
    cache: CacheUse
    timings_ms: Mapping[str, float]


class Searcher:
    """Finds passages. Safe to use from several threads."""

    def __init__(self, catalog: Catalog, encoders: Encoders, rankings: Rankings) -> None:
        self._catalog = catalog
        self._encoders = encoders
        self._rankings = rankings

    def search(self, search: Search, stop: Stop) -> Found:
        """The passages. Raises RagError."""
        stop.check()
        opened = self._catalog.find(search.corpus, search.corpus_id)
        index = opened.index
        policy = opened.caching(search.policy)
        vectors = CallVectors(self._encoders, index.manifest, policy, stop) if search.config.vector_weight else None
        start = time.perf_counter()
        ranking = retrieve(self._rankings, index, search.query, search.filter, search.config, vectors, policy, stop)
        retrieved = time.perf_counter()
        return Found(
            passages=[(candidate, index.passage(candidate.position)) for candidate in ranking.candidates],
            corpus=opened.corpus,
            corpus_id=index.corpus_id,
            query_parts=ranking.query_parts,
            cache=CacheUse.of([ranking], vectors),
            timings_ms={"retrieve": (retrieved - start) * 1000},
        )
