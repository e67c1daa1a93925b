"""Removing versions: first out of a corpus's history, then, once no corpus has them, from the disk."""

import dataclasses
import logging
import re
from collections.abc import Collection
from pathlib import Path

from rag_papers.errors import IndexDamaged
from rag_papers.persist.corpora import Corpora, named
from rag_papers.persist.index_store import disk_full_is_an_error_of_ours, remove
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

logger = logging.getLogger(__name__)

_CORPUS_ID = re.compile(r"[0-9a-f]{16}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removed:
    """Indexes that are gone from the disk."""

    corpus_ids: tuple[str, ...]
    """In ascending order."""
    freed_bytes: int


class Remover:
    """Removes versions and indexes; blocking, for one thread at a time."""

    def __init__(self, paths: DataPaths, corpora: Corpora, store: SqliteStore) -> None:
        self._paths = paths
        self._corpora = corpora
        self._store = store

    def delete(self, corpus: str, corpus_id: str) -> Removed:
        """Deletes one version of a corpus. Raises CorpusNotFound, IndexNotFound, or IndexInUse if it is active."""
        chosen = named(self._corpora.all(), corpus)
        version = chosen.version(corpus_id)
        with disk_full_is_an_error_of_ours():
            self._corpora.forget(chosen, {version.corpus_id})
        return self._remove_unless_needed({version.corpus_id})

    def keep_newest(self, corpus: str, count: int) -> None:
        """Deletes the versions of a corpus beyond its newest `count`, of which the active one is the first.

        What fails is reported in the log: the version that made others old is published all the same.
        """
        chosen = named(self._corpora.all(), corpus)
        old = {version.corpus_id for version in chosen.versions()[count:]}
        if not old:
            return
        try:
            self._corpora.forget(chosen, old)
            removed = self._remove_unless_needed(old)
        except OSError as error:
            logger.warning("old versions of %r are not deleted: %s", corpus, error)
        else:
            logger.info("%d old versions of %r deleted, %d bytes freed", len(old), corpus, removed.freed_bytes)

    def collect(self) -> Removed:
        """Deletes every index that no corpus refers to. Raises IndexDamaged if a pointer cannot be read."""
        if unreadable := self._corpora.unreadable():
            raise IndexDamaged(
                f"{unreadable[0]} is no readable pointer of a corpus: mend or remove it first, for nobody knows which "
                "versions it means",
                file=unreadable[0],
            )
        return self._remove(self._present() - self._needed())

    def _remove_unless_needed(self, corpus_ids: Collection[str]) -> Removed:
        if unreadable := self._corpora.unreadable():
            logger.warning("no index is deleted while these pointers cannot be read: %s", ", ".join(unreadable))
            return self._remove(())
        return self._remove(self._present().intersection(corpus_ids) - self._needed())

    def _remove(self, corpus_ids: Collection[str]) -> Removed:
        """Removes indexes, and what was cached of them: nobody can ask for it any more."""
        chosen = tuple(sorted(corpus_ids))
        freed = sum(remove(self._paths.indexes / corpus_id, self._paths.staging) for corpus_id in chosen)
        if chosen:
            self._store.purge((CacheTable.RETRIEVAL, CacheTable.ANSWERS), corpus_ids=chosen)
        return Removed(corpus_ids=chosen, freed_bytes=freed)

    def _needed(self) -> set[str]:
        return {version.corpus_id for corpus in self._corpora.all().values() for version in corpus.history}

    def _present(self) -> set[str]:
        """The indexes on disk. Whatever else people keep beside them is theirs."""
        return {path.name for path in self._paths.indexes.iterdir() if _CORPUS_ID.fullmatch(path.name) and _real(path)}


def _real(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
