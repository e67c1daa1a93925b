"""Which index answers: a corpus or a version by name to an open index."""

import dataclasses
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from query_service.integrity import AT_ONCE_BYTES, BackgroundChecks, CheckedIndex, Unusable
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.corpora import Corpora, Corpus, Stamp, select
from rag_papers.persist.index_store import OpenIndex
from rag_papers.retrieval.analysis import ANALYZER

logger = logging.getLogger(__name__)

_MAX_OPEN = 8  # indexes kept open; each costs a few file mappings
_MAX_KNOWN = 256  # names that are remembered
_TRUSTED_SECONDS = 0.1  # how long the files of an index count as unchanged where nothing but stored answers rest on it

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """An index and the corpus that it was found by."""

    corpus: str
    index: OpenIndex
    is_sound: bool
    """Every file of the index was found as it was published; only then may be cached what it says."""
    other_versions: tuple[str, ...] = ()
    """The other versions of the corpus, newest first."""
    stands_in: bool = False
    """It is an older version than the active one, which cannot be opened."""

    def caching(self, policy: CachePolicy) -> CachePolicy:
        """What a call that was allowed `policy` may do with the caches."""
        return policy if self.is_sound else dataclasses.replace(policy, write=False)


class Catalog:
    """The published indexes, opened when first asked for and shared. Safe to use from several threads.

    The pointers are read again for every call, so that a newly published version answers from the next call on; calls
    in flight keep the index that they were given.

    Opening looks at sizes and headers; every byte is read at once in a small index, in the background in a large one.
    """

    def __init__(self, corpora: Corpora, indexes: Path) -> None:
        self._corpora = corpora
        self._indexes = indexes
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._open: OrderedDict[str, tuple[_Stamp, CheckedIndex]] = OrderedDict()
        self._checks = BackgroundChecks()
        self._known: dict[tuple[str, str], _Known] = {}
        self._reported: set[tuple[str, str]] = set()

    def find(self, corpus: str = "", corpus_id: str = "") -> Opened:
        """The index of a corpus (empty: the one published last), at its active version or at `corpus_id`.

        Where the active version cannot be opened, the newest older one that can answers instead; a version that was
        asked for by its id never is replaced. Raises NoIndex, CorpusNotFound, IndexNotFound, IndexDamaged,
        FormatUnsupported.
        """
        if opened := self._as_before(corpus, corpus_id):
            return opened
        before = self._corpora.stamp()
        known = self._corpora.all()
        while True:
            try:
                opened = self._found(known, corpus, corpus_id)
                self._remember(corpus, corpus_id, opened, before)
                return opened
            except (IndexNotFound, IndexDamaged):
                # Between reading a pointer and opening what it names, that version may have been deleted.
                latest = self._corpora.all()
                if latest == known:
                    raise
                known = latest

    def known(self, corpus: str = "", corpus_id: str = "") -> Opened | None:
        """What `find` would find, if that can be told within microseconds; the caller need not be in a thread.

        What was published is seen at once. What is done to a pointer or an index by hand may go unseen for a tenth of a
        second: enough for what was stored when all was sound.
        """
        known = self._known.get((corpus, corpus_id))
        if known is None or known.checked.fault or not self._corpora.is_as(known.pointers):
            return None
        if time.monotonic() - known.looked > _TRUSTED_SECONDS and not self._is_unchanged(known):
            return None
        return known.opened

    def close(self) -> None:
        """Ends the checks."""
        self._checks.close()

    def active(self) -> Iterator[OpenIndex]:
        """The index that each corpus answers from; a corpus without a usable one is left out."""
        for corpus in self._corpora.all().values():
            try:
                yield self._active(corpus).index
            except (IndexDamaged, FormatUnsupported, IndexNotFound) as error:
                logger.warning("corpus %r has no usable index: %s", corpus.name, error)

    def _as_before(self, corpus: str, corpus_id: str) -> Opened | None:
        """What was found last, if a look at every pointer and file shows that it would be found again."""
        known = self._known.get((corpus, corpus_id))
        # One whose check went on when it was found may be sound by now.
        if known is None or known.checked.fault or not known.opened.is_sound:
            return None
        with self._looking:  # threads that look at once wake each other at every file
            if not self._is_unchanged(known):
                return None
        with self._lock:
            if known.opened.index.corpus_id not in self._open:
                return None
            self._open.move_to_end(known.opened.index.corpus_id)
        return known.opened

    def _is_unchanged(self, known: "_Known") -> bool:
        """Looks at every pointer and file."""
        began = time.monotonic()
        if known.pointers != self._corpora.stamp() or known.files != _stamp(known.opened.index.directory):
            return False
        known.looked = began
        return True

    def _found(self, known: dict[str, Corpus], name: str, corpus_id: str) -> Opened:
        corpus, version = select(known, name, corpus_id)
        if corpus_id:
            return _named(corpus, self._opened(version.corpus_id))
        return self._active(corpus)

    def _remember(self, corpus: str, corpus_id: str, opened: Opened, pointers: Stamp | None) -> None:
        """Remembers what was found while the pointers were as `pointers` says, if they still are."""
        with self._lock:
            files, checked = self._open.get(opened.index.corpus_id, (None, None))
            self._known.pop((corpus, corpus_id), None)
            # An older version that stands in for the active one does so only until that is repaired.
            if opened.stands_in or not files or not checked or not pointers or pointers != self._corpora.stamp():
                return
            self._known[corpus, corpus_id] = _Known(opened=opened, checked=checked, files=files, pointers=pointers)
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def _active(self, corpus: Corpus) -> Opened:
        active = corpus.active.corpus_id
        older = [version.corpus_id for version in corpus.versions() if version.corpus_id != active]
        failure: Unusable | None = None
        for corpus_id in (active, *older):
            try:
                checked = self._opened(corpus_id)
            except (IndexDamaged, FormatUnsupported, IndexNotFound) as error:
                failure = failure or error
                continue
            if failure and (active, corpus_id) not in self._reported:
                self._reported.add((active, corpus_id))
                logger.warning("corpus %r answers from its older version %s: %s", corpus.name, corpus_id, failure)
            return _named(corpus, checked, stands_in=failure is not None)
        assert failure is not None
        raise failure

    def _opened(self, corpus_id: str) -> CheckedIndex:
        directory = self._indexes / corpus_id
        with self._lock:
            stamp = _stamp(directory)
            known = self._open.get(corpus_id)
            if known and known[0] == stamp:
                self._open.move_to_end(corpus_id)
                if fault := known[1].fault:
                    raise fault.with_traceback(None)  # the same object each time
                return known[1]
            self._open.pop(corpus_id, None)
            index = OpenIndex(directory)
            if index.manifest.analyzer != ANALYZER:
                raise FormatUnsupported(
                    f"index {corpus_id} was built with the analyzer {index.manifest.analyzer!r}, this version uses "
                    f"{ANALYZER!r}: ingest the corpus again",
                    corpus_id=corpus_id,
                )
            checked = CheckedIndex(index)
            self._open[corpus_id] = (stamp, checked)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
            if index.manifest.size_bytes <= AT_ONCE_BYTES:
                checked.check()
            else:
                self._checks.submit(checked)
            return checked


@dataclasses.dataclass(kw_only=True)
class _Known:
    """An index that was found, and what it depends on."""

    opened: Opened
    checked: CheckedIndex
    files: _Stamp
    pointers: Stamp
    looked: float = 0.0
    """When the last look began that saw them to be those, on the monotonic clock."""


def _named(corpus: Corpus, checked: CheckedIndex, stands_in: bool = False) -> Opened:
    corpus_id = checked.index.corpus_id
    others = tuple(version.corpus_id for version in corpus.versions() if version.corpus_id != corpus_id)
    return Opened(
        corpus=corpus.name,
        index=checked.index,
        is_sound=checked.is_sound,
        other_versions=others,
        stands_in=stands_in,
    )


def _stamp(directory: Path) -> _Stamp:
    """Tells a directory whose files were replaced, cut or removed from the one that was opened."""
    try:
        with os.scandir(directory) as entries:  # half of what paths cost; for every call
            return tuple(
                sorted(
                    (entry.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
                    for entry in entries
                    for stat in (entry.stat(),)
                )
            )
    except OSError:
        return ()
