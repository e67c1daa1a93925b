"""The retrieval cache: the ranking of a query under everything that shapes it."""

import dataclasses
import json
import logging

from rag_papers.persist.hashing import digest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.fusion import FUSION, Candidate

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalKey:
    """All that a ranking depends on; the index brings analyzer, model and passages with its id."""

    query: str
    corpus_id: str
    filter: Filter
    top_k: int
    bm25_weight: float
    vector_weight: float
    approximate: bool
    """The approximate index may have found the candidates."""

    def digest(self) -> bytes:
        """The key in the table."""
        return digest(["retrieval-2", FUSION, dataclasses.asdict(self)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRanking:
    """A ranking as it was stored."""

    candidates: list[Candidate]
    """Best first."""
    query_parts: int
    """Parts that the query was embedded in; 0 where vectors had no weight."""
    created: float
    """When it was stored, seconds since the epoch."""


class RetrievalCache:
    """Rankings by key."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def get(self, key: RetrievalKey) -> StoredRanking | None:
        """The ranking, if there is one."""
        entry = self._store.get(CacheTable.RETRIEVAL, key.digest())
        if entry is None:
            return None
        try:
            query_parts, rows = json.loads(entry.value)
            candidates = [Candidate(*row) for row in rows]
            if not (isinstance(rows, list) and isinstance(query_parts, int)):
                raise TypeError("it is no ranking")
        except (ValueError, TypeError) as error:
            logger.warning("a cached ranking is damaged and ignored: %s", error)
            return None
        return StoredRanking(candidates=candidates, query_parts=query_parts, created=entry.created)

    def put(self, key: RetrievalKey, candidates: list[Candidate], query_parts: int) -> None:
        """Stores or replaces a ranking."""
        value = json.dumps([query_parts, candidates]).encode()
        self._store.put(CacheTable.RETRIEVAL, key.digest(), value, key.corpus_id)
