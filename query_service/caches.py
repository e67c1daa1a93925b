"""Administration of the caches: what they hold, and how they are emptied."""

import dataclasses
import time
from collections.abc import Sequence

from rag_papers.persist.corpora import Corpora, named
from rag_papers.persist.sqlite_store import CacheTable, Purged, SqliteStore

OF_A_CORPUS = (CacheTable.RETRIEVAL, CacheTable.ANSWERS)
"""The tables whose entries are made from one version of a corpus."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Purge:
    """A valid request to delete entries."""

    tables: Sequence[CacheTable]
    corpus: str
    """Only what was made from the versions of this corpus; empty: from whatever."""
    corpus_id: str
    """Only what was made from this version; empty: from whatever."""
    older_than: float | None
    """Only what was written more than so many seconds ago."""
    dry_run: bool


class Caches:
    """The caches as a whole; blocking."""

    def __init__(self, store: SqliteStore, corpora: Corpora) -> None:
        self.store = store
        self._corpora = corpora

    def purge(self, purge: Purge) -> dict[CacheTable, Purged]:
        """Deletes entries; returns which that were. Raises CorpusNotFound."""
        corpus_ids = [purge.corpus_id] if purge.corpus_id else None
        if purge.corpus:
            corpus = named(self._corpora.all(), purge.corpus)
            corpus_ids = [version.corpus_id for version in corpus.versions()]
        before = None if purge.older_than is None else time.time() - purge.older_than
        return self.store.purge(purge.tables, corpus_ids=corpus_ids, before=before, dry_run=purge.dry_run)

    def vacuum(self) -> tuple[int, int]:
        """Shrinks the database; returns its size in bytes before and after."""
        before = self.store.file_bytes()
        self.store.vacuum()
        return before, self.store.file_bytes()
