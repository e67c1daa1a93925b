"""What using the caches tells: counts, and when an entry was read last. Kept in memory and saved now and then.

A read only notes; the saving is done by a thread, so that no read waits for a write.
"""

import dataclasses
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection

from rag_papers.persist.cache_schema import CacheTable

SAVE_SECONDS = 5.0
"""How long after a read what is known of it is saved."""

_MAX_ACCESSED = 100_000  # keys remembered between two savings; of more than these the last access is not known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counters:
    """What happened to one table."""

    hits: int = 0
    """Entries that were asked for and found."""
    misses: int = 0
    """Entries that were asked for and were not there, too old or damaged."""
    puts: int = 0
    """Entries written."""
    evictions: int = 0
    """Entries deleted to keep within the limit."""
    expired: int = 0
    """Entries deleted because of their age."""


class Noted:
    """What was noted of a table since it was saved last."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._accessed: dict[bytes, float] = {}
        self._reads: list[tuple[Collection[bytes], float]] = []  # put into the dictionary when that is asked for
        self._keys = 0

    def read(self, found: Collection[bytes], misses: int, now: float) -> None:
        """The entries `found` were read."""
        self.hits += len(found)
        self.misses += misses
        if found:
            self._reads.append((found, now))
        self._keys += len(found)
        if self._keys > _MAX_ACCESSED:
            self._unpack()

    def take_accessed(self) -> dict[bytes, float]:
        """When entries were read last, seconds since the epoch, by key; forgets it."""
        self._unpack()
        taken, self._accessed = self._accessed, {}
        return taken

    def _unpack(self) -> None:
        for found, now in self._reads:
            if len(self._accessed) < _MAX_ACCESSED:
                self._accessed.update(dict.fromkeys(found, now))
        self._reads, self._keys = [], 0


class Usage:
    """What this process does with the caches. Safe to use from several threads and over forks."""

    _is_timed: bool
    _timer: threading.Timer | None
    """The last that was begun."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._lock = threading.Lock()
        self._forget()

    def read(self, table: CacheTable, found: Collection[bytes], misses: int, now: float) -> None:
        """Notes a read; `found` are the keys of the entries that were there."""
        with self._lock:
            if self._process != os.getpid():
                self._forget()  # what the parent noted, it saves
            self._unsaved[table].read(found, misses, now)
            if not self._is_timed:
                self._is_timed = True
                self._timer = threading.Timer(SAVE_SECONDS, self._save)
                self._timer.daemon = True
                self._timer.start()

    def count(self, table: CacheTable, **counts: int) -> None:
        """Adds to the counts of this process: puts, evictions, expired."""
        with self._lock:
            mine = self._counts[table]
            for name, number in counts.items():
                mine[name] += number

    def take(self) -> dict[CacheTable, Noted]:
        """What there is to save, which then counts as saved."""
        with self._lock:
            unsaved = self._unsaved
            for table, noted in unsaved.items():
                self._counts[table].update(hits=noted.hits, misses=noted.misses)
            if self._timer is not None:
                self._timer.cancel()
            self._forget_noted()
        return unsaved

    def take_accessed(self, table: CacheTable) -> dict[bytes, float]:
        """When entries of `table` were read last, which then counts as saved."""
        with self._lock:
            return self._unsaved[table].take_accessed() if table in self._unsaved else {}

    def counters(self, table: CacheTable) -> Counters:
        """Of this process, since its start."""
        with self._lock:
            noted = self._unsaved.get(table, Noted())
            return Counters(**(self._counts[table] + Counter(hits=noted.hits, misses=noted.misses)))

    def close(self) -> None:
        """Saves what there is, and begins no thread any more."""
        with self._lock:
            timer = self._timer if self._process == os.getpid() else None
        if timer is not None:
            timer.cancel()
            timer.join()  # it may be saving
            self._save()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._timer = None
        self._counts: defaultdict[CacheTable, Counter[str]] = defaultdict(Counter)
        self._forget_noted()

    def _forget_noted(self) -> None:
        self._unsaved: defaultdict[CacheTable, Noted] = defaultdict(Noted)
        self._is_timed = False
