"""The statements of the cache database, each over a connection; those that change anything are for a transaction."""

import dataclasses
import functools
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rag_papers.persist.cache_schema import CacheTable, checksum, recount

BATCH_ROWS = 500
"""Rows changed in one transaction by what changes many: others that write wait no longer than this takes."""

_KEYS_PER_SELECT = (16, 128, 1024)  # few statements, so that all of them stay prepared
Row = tuple[bytes, bytes, int, float, float]
"""An entry: key, value, CRC, when it was written and when it was used last."""

_SIZE = "length(key) + length(value)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which entries of a table a purge is about."""

    corpus_ids: Collection[str] | None = None
    """Those of these versions alone; None: of all, and of none."""
    before: float | None = None
    """Those written before then alone, seconds since the epoch."""


def select(connection: sqlite3.Connection, table: CacheTable, keys: Sequence[bytes]) -> Iterator[Row]:
    """The entries under `keys` that exist."""
    start = 0
    while start < len(keys):
        left = len(keys) - start
        size = 1 if left == 1 else next((size for size in _KEYS_PER_SELECT if size >= left), _KEYS_PER_SELECT[-1])
        part: list[bytes | None] = [*keys[start : start + size]]
        start += size
        yield from connection.execute(_select(table, size), part + [None] * (size - len(part)))


@functools.cache
def _select(table: CacheTable, size: int) -> str:
    return f"SELECT key, value, crc, created, accessed FROM {table} WHERE key IN ({','.join('?' * size)})"


def is_whole(row: Row) -> bool:
    """Whether an entry is as it was written."""
    key, value, crc, created, accessed = row
    return type(value) is bytes and type(created) is float and type(accessed) is float and checksum(key, value) == crc


def insert(
    connection: sqlite3.Connection, table: CacheTable, items: Mapping[bytes, bytes], now: float, corpus_id: str
) -> None:
    """Writes or replaces entries."""
    connection.executemany(
        f"INSERT OR REPLACE INTO {table} (key, crc, created, accessed, corpus_id, value) VALUES (?, ?, ?, ?, ?, ?)",
        [(key, checksum(key, value), now, now, corpus_id, value) for key, value in items.items()],
    )


def size_and_epoch(connection: sqlite3.Connection, table: CacheTable) -> tuple[int, int]:
    """Bytes of keys and values, and what changes with every entry that is removed or replaced."""
    found: tuple[int, int] | None = connection.execute(
        "SELECT bytes, epoch FROM tables WHERE name = ?", [table]
    ).fetchone()
    if found is None:
        raise sqlite3.DatabaseError(f"the size of {table} is missing")
    return found


def evict(connection: sqlite3.Connection, table: CacheTable, excess: int) -> int:
    """Deletes the entries used least recently, `excess` bytes of them; returns how many."""
    count = 0
    while excess > 0:
        rows = connection.execute(
            f"SELECT rowid, {_SIZE} FROM {table} ORDER BY accessed, rowid LIMIT {BATCH_ROWS}"
        ).fetchall()
        if not rows:
            recount(connection, table)
            break
        chosen = []
        for rowid, size in rows:
            if excess <= 0:
                break
            chosen.append((rowid,))
            excess -= size
        connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", chosen)
        count += len(chosen)
    connection.execute("UPDATE tables SET evictions = evictions + ? WHERE name = ?", [count, table])
    return count


def expire(connection: sqlite3.Connection, table: CacheTable, until: float, keys: Iterable[bytes] = ()) -> int:
    """Deletes entries written at `until` or before: those under `keys`, and some of the oldest; returns how many."""
    count = 0
    for key in keys:
        count += connection.execute(f"DELETE FROM {table} WHERE key = ? AND created <= ?", [key, until]).rowcount
    oldest = f"SELECT rowid FROM {table} ORDER BY rowid LIMIT {BATCH_ROWS}"
    count += connection.execute(f"DELETE FROM {table} WHERE rowid IN ({oldest}) AND created <= ?", [until]).rowcount
    if count:
        connection.execute("UPDATE tables SET expired = expired + ? WHERE name = ?", [count, table])
    return count


def note_accesses(connection: sqlite3.Connection, table: CacheTable, accessed: Iterable[tuple[bytes, float]]) -> None:
    """Sets when entries were read last; an access that another process has noted since stays."""
    connection.executemany(
        f"UPDATE {table} SET accessed = ?2 WHERE key = ?1 AND accessed < ?2",
        accessed,
    )


def count_reads(connection: sqlite3.Connection, table: CacheTable, hits: int, misses: int) -> None:
    """Adds to the counts of `table`."""
    connection.execute("UPDATE tables SET hits = hits + ?, misses = misses + ? WHERE name = ?", [hits, misses, table])


def last_row(connection: sqlite3.Connection, table: CacheTable) -> int:
    """The row written last; 0 if there is none."""
    row: int = connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0]
    return row


def matching(
    connection: sqlite3.Connection, table: CacheTable, selection: Selection, after: int, last: int
) -> list[tuple[int, int]]:
    """Row ids, ascending, and sizes of the entries of a selection, at most BATCH_ROWS from behind `after` to `last`."""
    where: list[str] = []
    arguments: list[int | float | str] = [after, last]
    if selection.corpus_ids is not None:
        # The first of the two is what lets the index be used, which has the entries of a version alone.
        where.append(f"AND corpus_id != '' AND corpus_id IN ({', '.join('?' * len(selection.corpus_ids))})")
        arguments += selection.corpus_ids
    if selection.before is not None:
        where.append("AND created < ?")
        arguments.append(selection.before)
    return connection.execute(
        f"SELECT rowid, {_SIZE} FROM {table} WHERE rowid > ? AND rowid <= ? {' '.join(where)} "
        f"ORDER BY rowid LIMIT {BATCH_ROWS}",
        arguments,
    ).fetchall()


def delete(connection: sqlite3.Connection, table: CacheTable, rows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Deletes rows; returns those that were there."""
    statement = f"DELETE FROM {table} WHERE rowid = ?"
    return [row for row in rows if connection.execute(statement, row[:1]).rowcount]


def vacuum(connection: sqlite3.Connection, pages: int) -> int:
    """Returns at most `pages` to the file system; returns how many are left unused."""
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return free


def measure(connection: sqlite3.Connection, table: CacheTable) -> dict[str, Any]:
    """Numbers by the names that TableStats and Counters give them."""
    cursor = connection.execute(
        "SELECT count, bytes AS total_bytes, hits, misses, puts, evictions, expired, "
        f"(SELECT created FROM {table} ORDER BY rowid LIMIT 1) AS oldest, "
        f"(SELECT created FROM {table} ORDER BY rowid DESC LIMIT 1) AS newest, "
        f"(SELECT min(accessed) FROM {table}) AS oldest_access FROM tables WHERE name = ?",
        [table],
    )
    values = cursor.fetchone()
    if values is None:
        raise sqlite3.DatabaseError(f"the size of {table} is missing")
    return dict(zip((column[0] for column in cursor.description), values, strict=True))
