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
        return digest(["retrieval", FUSION, dataclasses.asdict(self)])


class RetrievalCache:
    """Rankings by key."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def get(self, key: RetrievalKey) -> tuple[list[Candidate], float] | None:
        """The ranking, best first, and when it was stored (seconds since the epoch)."""
        entry = self._store.get(CacheTable.RETRIEVAL, key.digest())
        if entry is None:
            return None
        try:
            rows = json.loads(entry.value)
            candidates = [Candidate(*row) for row in rows]
        except (ValueError, TypeError) as error:
            logger.warning("a cached ranking is damaged and ignored: %s", error)
            return None
        return (candidates, entry.created) if isinstance(rows, list) else None

    def put(self, key: RetrievalKey, candidates: list[Candidate]) -> None:
        """Stores or replaces a ranking."""
        self._store.put(CacheTable.RETRIEVAL, key.digest(), json.dumps(candidates).encode(), key.corpus_id)
