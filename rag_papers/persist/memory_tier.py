"""Entries in memory before the database, as valid as the database says."""

import threading
from collections import OrderedDict

from rag_papers.persist.cache_rows import Entry
from rag_papers.persist.cache_schema import CacheTable

_OVERHEAD_BYTES = 500  # what Python keeps beside key and value


class MemoryTier:
    """The entries used last, bounded in bytes. Safe to use from several threads.

    An entry belongs to the epoch of its table at which it was read. The epoch in the database changes with whatever any
    process removes or replaces; an entry of another one is not given out.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        """What is kept, bytes."""
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[CacheTable, bytes], tuple[int, Entry]] = OrderedDict()

    def get(self, table: CacheTable, key: bytes, epoch: int) -> Entry | None:
        """The entry, if it is of this epoch."""
        place = (table, key)
        with self._lock:
            known = self._entries.get(place)
            if known is None or known[0] != epoch:
                return None
            self._entries.move_to_end(place)
            return known[1]

    def put(self, table: CacheTable, key: bytes, entry: Entry, epoch: int) -> None:
        """Keeps an entry that was read, or written, at this epoch, in the place of those used least recently."""
        if _size(entry) > self.max_bytes:
            return
        place = (table, key)
        with self._lock:
            if (old := self._entries.pop(place, None)) is not None:
                self.size_bytes -= _size(old[1])
            self._entries[place] = (epoch, entry)
            self.size_bytes += _size(entry)
            while self.size_bytes > self.max_bytes:
                _, (_, evicted) = self._entries.popitem(last=False)
                self.size_bytes -= _size(evicted)


def _size(entry: Entry) -> int:
    return len(entry.value) + _OVERHEAD_BYTES
