"""What using the caches tells: counts, and when an entry was read last. Kept in memory and saved now and then.

A read only notes; the saving is done by a thread, so that no read waits for a write.
"""

import dataclasses
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noted:
    """What was noted of a table since it was saved last."""

    hits: int
    misses: int
    accessed: dict[bytes, float]
    """When entries were read last, seconds since the epoch, by key."""


class Usage:
    """What this process does with the caches. Safe to use from several threads and over forks."""

    _is_timed: bool
    _timer: threading.Timer | None
    """The last that was begun."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._lock = threading.Lock()
        self._forget()

    def read(self, table: CacheTable, hits: int, misses: int, accessed: Iterable[bytes], now: float) -> None:
        """Notes a read; `accessed` are the keys whose last access is `now`."""
        with self._lock:
            if self._process != os.getpid():
                self._forget()  # what the parent noted, it saves
            unsaved = self._unsaved[table]
            unsaved["hits"] += hits
            unsaved["misses"] += misses
            times = self._accessed[table]
            if len(times) < _MAX_ACCESSED:
                for key in accessed:
                    times[key] = now
            if not self._is_timed:
                self._is_timed = True
                self._timer = threading.Timer(SAVE_SECONDS, self._save)
                self._timer.daemon = True
                self._timer.start()

    def hit(self, table: CacheTable, key: bytes, now: float) -> None:
        """As `read`, of one entry that was there."""
        with self._lock:
            if self._is_timed and self._process == os.getpid():
                self._unsaved[table]["hits"] += 1
                times = self._accessed[table]
                if len(times) < _MAX_ACCESSED:
                    times[key] = now
                return
        self.read(table, 1, 0, (key,), now)

    def count(self, table: CacheTable, **counts: int) -> None:
        """Adds to the counts of this process: puts, evictions, expired."""
        with self._lock:
            mine = self._counts[table]
            for name, number in counts.items():
                mine[name] += number

    def take(self) -> dict[CacheTable, Noted]:
        """What there is to save, which then counts as saved."""
        with self._lock:
            unsaved, accessed = self._unsaved, self._accessed
            for table, counts in unsaved.items():
                self._counts[table].update(counts)
            if self._timer is not None:
                self._timer.cancel()
            self._forget_noted()
        return {
            table: Noted(hits=counts["hits"], misses=counts["misses"], accessed=accessed[table])
            for table, counts in unsaved.items()
        }

    def take_accessed(self, table: CacheTable) -> dict[bytes, float]:
        """When entries of `table` were read last, which then counts as saved."""
        with self._lock:
            return self._accessed.pop(table, {})

    def counters(self, table: CacheTable) -> Counters:
        """Of this process, since its start."""
        with self._lock:
            return Counters(**(self._counts[table] + self._unsaved.get(table, Counter())))

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
        self._unsaved: defaultdict[CacheTable, Counter[str]] = defaultdict(Counter)
        self._accessed: defaultdict[CacheTable, dict[bytes, float]] = defaultdict(dict)
        self._is_timed = False
