"""The cache store: tables of bytes by key, bounded in size and age, that several processes share.

A cache is never a reason to fail: what cannot be read is a miss, what cannot be written is skipped; see
`cache_database`. What was used last is kept in memory too, where the limits allow it.
"""

import dataclasses
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rag_papers.persist import cache_rows
from rag_papers.persist.cache_database import CacheDatabase
from rag_papers.persist.cache_limits import UNLIMITED, CacheLimits, TableLimits
from rag_papers.persist.cache_log import CacheLog
from rag_papers.persist.cache_rows import BATCH_ROWS, Entry, Selection
from rag_papers.persist.cache_schema import CacheTable, id_of
from rag_papers.persist.cache_usage import Counters, Usage
from rag_papers.persist.memory_tier import MemoryTier
from rag_papers.persist.write_signal import WriteSignal

__all__ = ["CacheTable", "Counters", "Entry", "Purged", "SqliteStore", "TableStats"]

logger = logging.getLogger(__name__)

_VACUUM_PAGES = 200  # moved in one transaction
_EVICTED_SHARE = 16  # an eviction frees this part of the limit, ...
_EVICTED_BYTES = 4 << 20  # ... or this much if that is less
_USED_AT_ONCE = 16  # values read at once where it is not known how many are wanted
_LARGEST_SHARE = 4  # an entry larger than this part of the limit is not stored
_NO_LIMITS = TableLimits()
# How long no signal counts as no write: a writer may die between its commit and its signal, somebody delete the file.
_TRUSTED_SECONDS = 0.1

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableStats:
    """Size, age and use of one table."""

    count: int = 0
    total_bytes: int = 0
    """Bytes of keys and values."""
    oldest: float | None = None
    """When the oldest entry was written, seconds since the epoch; None if the table is empty."""
    newest: float | None = None
    """When the newest entry was written."""
    oldest_access: float | None = None
    """When the entry that would be evicted first was read or written last."""
    limits: TableLimits = _NO_LIMITS
    counters: Counters = dataclasses.field(default_factory=Counters)
    """Of all processes, since the file was begun; what other processes read in the last seconds may be missing."""
    process: Counters = dataclasses.field(default_factory=Counters)
    """Of this process, since its start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Purged:
    """Entries that were deleted."""

    count: int = 0
    total_bytes: int = 0
    """Bytes of their keys and values."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """The epoch of a table, and what shows that it is still the same."""

    token: int
    epoch: int
    at: float


class SqliteStore:
    """Bytes by key in the tables of one SQLite file. Safe to share between threads; processes open their own."""

    def __init__(self, path: Path, limits: CacheLimits = UNLIMITED) -> None:
        self.path = path
        self._limits = limits
        self._database = CacheDatabase(path)
        self._log = CacheLog(self._database)
        self._memory = MemoryTier(limits.memory_bytes)
        self._signal = WriteSignal(path.with_name(f"{path.name}.signal"))
        self._verified: dict[CacheTable, _Verified] = {}
        self._usage = Usage(self._upkeep)

    def get_many(self, table: CacheTable, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of the entries that exist, are whole and not too old, by key.

        An entry that any process has purged or replaced before the call is not among them.
        """
        return self._found(table, keys, self._load_values)

    def get(self, table: CacheTable, key: bytes) -> Entry | None:
        """The entry under `key`, if it exists, is whole and not too old; see `get_many`."""
        if self._memory.max_bytes and (entry := self._remembered(table, key)):
            return entry
        return self._found(table, (key,), self._load).get(key)

    def put_many(self, table: CacheTable, items: Mapping[bytes, bytes], corpus_id: str = "") -> None:
        """Writes or replaces entries in one transaction, and evicts others if the table has become too large.

        `corpus_id` is the version of a corpus that the values are of no use without; empty: there is none. A value too
        large for the table is left out.
        """
        limit = self._of(table).max_bytes
        if limit is not None:
            items = {key: value for key, value in items.items() if len(key) + len(value) <= limit // _LARGEST_SHARE}
        now = time.time()
        work = partial(self._store, table=table, items=items, now=now, corpus_id=corpus_id)
        epoch = self._write(f"writing {table}", work, None)
        if epoch is None:
            return
        self._usage.count(table, puts=len(items))
        self._log.written(sum(map(len, items.values())))
        if self._memory.max_bytes:
            for key, value in items.items():
                self._memory.put(table, key, Entry(value, now), epoch)

    def put(self, table: CacheTable, key: bytes, value: bytes, corpus_id: str = "") -> None:
        """Writes or replaces one entry; see `put_many`."""
        self.put_many(table, {key: value}, corpus_id)

    def used_last(self, table: CacheTable, corpus_ids: Collection[str] | None, since: float) -> Iterator[bytes]:
        """The values that were read after they were written, at `since` or later, the one read last first.

        Seconds since the epoch. Only those of `corpus_ids` where they are given. This itself is no use of them.
        """
        self._upkeep()
        choose = partial(cache_rows.used_last, table=table, corpus_ids=corpus_ids, since=since)
        keys = self._database.read("looking for what is used", choose, list[bytes]())
        for start in range(0, len(keys), _USED_AT_ONCE):
            part = keys[start : start + _USED_AT_ONCE]
            load = partial(cache_rows.read_values, table=table, keys=part, after=self._oldest(table, time.time()))
            found = self._database.read(f"reading {table}", load, dict[bytes, bytes]())
            yield from (found[key] for key in part if key in found)

    def purge(
        self,
        tables: Iterable[CacheTable],
        *,
        corpus_ids: Collection[str] | None = None,
        before: float | None = None,
        dry_run: bool = False,
    ) -> dict[CacheTable, Purged]:
        """Deletes the entries of `tables`; returns which that were. What is written meanwhile stays.

        Only those of `corpus_ids`, and those written before `before` (seconds since the epoch), where that is given. A
        dry run deletes nothing.
        """
        selection = Selection(corpus_ids=corpus_ids, before=before)
        return {table: self._purge(table, selection, dry_run) for table in dict.fromkeys(tables)}

    def stats(self) -> dict[CacheTable, TableStats]:
        """Size, age and use of every table."""
        self._upkeep()
        unknown = {
            table: TableStats(limits=self._of(table), process=self._usage.counters(table)) for table in CacheTable
        }
        return self._database.read("measuring", self._measure, unknown)

    def file_bytes(self) -> int:
        """Size of the database and its write-ahead log, bytes."""
        return self._database.file_bytes()

    def vacuum(self) -> None:
        """Returns the space of deleted entries to the file system, step by step: others read and write meanwhile."""
        step = partial(cache_rows.vacuum, pages=_VACUUM_PAGES)
        unused = self._write("vacuuming", step, 0)
        while unused and (left := self._write("vacuuming", step, 0)) < unused:
            unused = left
        self._database.read("vacuuming", lambda it: it.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), [])

    def close(self) -> None:
        """Closes the connections of all threads; nothing may be in use."""
        self._usage.close()
        self._log.close()
        self._database.close()
        self._signal.close()

    def _write(self, what: str, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        written = self._database.write(what, work, otherwise)
        self._signal.give()
        return written

    def _verify(self, connection: sqlite3.Connection, table: CacheTable, now: float) -> int:
        """The epoch of a table as it is in the database."""
        known = self._verified.pop(table, None)
        if known is None or now - known.at >= _TRUSTED_SECONDS:
            self._signal.check()
        # The signal first: what is written from here on gives another one.
        token = self._signal.value
        epoch = cache_rows.size_and_epoch(connection, table)[1]
        if token is not None:
            self._verified[table] = _Verified(token=token, epoch=epoch, at=now)
        return epoch

    def _remembered(self, table: CacheTable, key: bytes) -> Entry | None:
        """The entry from memory, if nobody has written since the epoch of its table was read: without the database."""
        verified = self._verified.get(table)
        now = time.time()
        if verified is None or verified.token != self._signal.value or not 0 <= now - verified.at < _TRUSTED_SECONDS:
            return None
        entry = self._memory.get(table, key, verified.epoch)
        if entry is None or entry.created <= self._oldest(table, now):
            return None
        self._usage.read(table, (key,), 0, now)
        return entry

    def _of(self, table: CacheTable) -> TableLimits:
        return self._limits.tables.get(table, _NO_LIMITS)

    def _oldest(self, table: CacheTable, now: float) -> float:
        """What was written then, or before, is too old."""
        ttl = self._of(table).ttl_seconds
        return -math.inf if ttl is None else now - ttl

    def _found(
        self,
        table: CacheTable,
        keys: Sequence[bytes],
        load: Callable[[sqlite3.Connection, CacheTable, Sequence[bytes], float], dict[bytes, T]],
    ) -> dict[bytes, T]:
        """What `load` finds, which is noted."""
        now = time.time()
        nothing: dict[bytes, T] = {}
        found = self._database.read(f"reading {table}", lambda connection: load(connection, table, keys, now), nothing)
        misses = 0 if len(found) == len(keys) else sum(key not in found for key in keys)
        self._usage.read(table, tuple(found), misses, now)
        return found

    def _load_values(
        self, connection: sqlite3.Connection, table: CacheTable, keys: Sequence[bytes], now: float
    ) -> dict[bytes, bytes]:
        if self._memory.max_bytes:
            return {key: entry.value for key, entry in self._load(connection, table, keys, now).items()}
        return cache_rows.read_values(connection, table, keys, self._oldest(table, now))

    def _load(
        self, connection: sqlite3.Connection, table: CacheTable, keys: Sequence[bytes], now: float
    ) -> dict[bytes, Entry]:
        if self._memory.max_bytes:
            found = self._load_through_memory(connection, table, keys, now)
        else:
            found = cache_rows.read(connection, table, keys)
        oldest = self._oldest(table, now)
        return {key: entry for key, entry in found.items() if entry.created > oldest}

    def _load_through_memory(
        self, connection: sqlite3.Connection, table: CacheTable, keys: Sequence[bytes], now: float
    ) -> dict[bytes, Entry]:
        # Before the rows: one that is replaced in between is kept under the old epoch, and not found there again.
        epoch = self._verify(connection, table, now)
        found = {key: entry for key in keys if (entry := self._memory.get(table, key, epoch))}
        if len(found) < len(keys):
            read = cache_rows.read(connection, table, [key for key in keys if key not in found])
            for key, entry in read.items():
                self._memory.put(table, key, entry, epoch)
            found |= read
        return found

    def _store(
        self,
        connection: sqlite3.Connection,
        table: CacheTable,
        items: Mapping[bytes, bytes],
        now: float,
        corpus_id: str,
    ) -> int:
        """Writes entries; returns the epoch then."""
        cache_rows.insert(connection, table, items, now, corpus_id)
        size, epoch = cache_rows.size_and_epoch(connection, table)
        limit = self._of(table).max_bytes
        if limit is None or size <= limit:
            return epoch
        cache_rows.note_accesses(connection, table, _by_place(self._usage.take_accessed(table)))
        batch = min(limit // _EVICTED_SHARE, _EVICTED_BYTES)
        self._usage.count(table, evictions=cache_rows.evict(connection, table, size - limit + batch))
        return cache_rows.size_and_epoch(connection, table)[1]

    def _purge(self, table: CacheTable, selection: Selection, dry_run: bool) -> Purged:
        count = size = position = 0
        last = self._database.read("purging", partial(cache_rows.last_row, table=table), 0)
        while position < last:
            choose = partial(cache_rows.matching, table=table, selection=selection, after=position, last=last)
            rows = self._database.read("purging", choose, list[tuple[int, int]]())
            if not rows:
                break
            position = rows[-1][0]
            if not dry_run:
                rows = self._write("purging", partial(cache_rows.delete, table=table, rows=rows), [])
            count, size = count + len(rows), size + sum(length for _, length in rows)
        return Purged(count=count, total_bytes=size)

    def _measure(self, connection: sqlite3.Connection) -> dict[CacheTable, TableStats]:
        result = {}
        for table in CacheTable:
            facts = cache_rows.measure(connection, table)
            counters = Counters(**{field.name: facts.pop(field.name) for field in dataclasses.fields(Counters)})
            result[table] = TableStats(
                **facts, limits=self._of(table), counters=counters, process=self._usage.counters(table)
            )
        return result

    def _upkeep(self) -> None:
        """Saves what was noted of reads, and deletes entries whose time has come."""
        for table, noted in self._usage.take().items():
            count = partial(cache_rows.count_reads, table=table, hits=noted.hits, misses=noted.misses)
            self._write(f"counting {table}", count, None)
            accesses = _by_place(noted.take_accessed())
            for start in range(0, len(accesses), BATCH_ROWS):
                part = accesses[start : start + BATCH_ROWS]
                note = partial(cache_rows.note_accesses, table=table, accessed=part)
                self._write(f"noting accesses of {table}", note, None)
        for table, limits in self._limits.tables.items():
            if limits.ttl_seconds is not None:
                expire = partial(cache_rows.expire, table=table, until=time.time() - limits.ttl_seconds)
                expired = BATCH_ROWS
                while expired == BATCH_ROWS:
                    expired = self._write(f"expiring {table}", expire, 0)
                    self._usage.count(table, expired=expired)


def _by_place(accessed: Mapping[bytes, float]) -> list[tuple[int, float]]:
    """Accesses by id, in the order of the places: those that lie together are written together."""
    return sorted((id_of(key), at) for key, at in accessed.items())
