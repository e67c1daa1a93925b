"""Which files are new, changed or gone, compared with a version before."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from ingest_service.scan import Scan
from ingest_service.task import Task
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import SOURCES, read_sources, verify
from rag_papers.persist.job_log import FileCounts


class Changes:
    """Counts files by what became of them."""

    def __init__(self, found: Scan, before: Mapping[str, str]) -> None:
        """`before` has the digests, in hex, of the version before by path."""
        self._found, self._before = found, before
        self._new = self._changed = self._unchanged = 0

    def ingested(self, path: str, digest: bytes | None) -> None:
        """Counts a file that something in the index comes from; None: it changed while it was read."""
        before = self._before.get(path)
        if before is None:
            self._new += 1
        elif digest is None or before != digest.hex():
            self._changed += 1
        else:
            self._unchanged += 1

    def counts(self) -> FileCounts:
        """What became of all files: those that were not counted have failed."""
        scanned = len(self._found.files) + len(self._found.errors)
        there = {source.path for source in self._found.files} | {error.path for error in self._found.errors}
        return FileCounts(
            scanned=scanned,
            new=self._new,
            changed=self._changed,
            unchanged=self._unchanged,
            deleted=sum(path not in there for path in self._before),
            skipped=self._found.skipped,
            failed=scanned - self._new - self._changed - self._unchanged,
        )


def digests_before(task: Task) -> dict[str, str]:
    """The digests, in hex, of the files of the corpus's active version by path; none if there is no version."""
    corpus = Corpora(Path(task.corpora)).all().get(task.corpus)
    if corpus is not None:
        index = Path(task.indexes) / corpus.active.corpus_id
        with contextlib.suppress(IndexNotFound, IndexDamaged, FormatUnsupported):
            verify(index, [SOURCES])
            return {source.path: source.digest for source in read_sources(index)}
    return {}
