"""The statements of the cache database, each over a connection; those that change anything are for a transaction."""

import bisect
import dataclasses
import functools
import itertools
import logging
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rag_papers.persist.cache_schema import CacheTable, checksum, id_of, insertion, recount, size_of

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
"""Rows changed in one transaction by what changes many: others that write wait no longer than this takes."""

_EVICTED_ROWS = 4096  # found by one look at all places
_KEYS_PER_SELECT = (1, 16, 128, 1024)  # few statements, so that all of them stay prepared


class Entry(NamedTuple):  # thousands are made at once, and a dataclass that is frozen takes four times as long
    """A value and when it was written."""

    value: bytes
    created: float
    """Seconds since the epoch."""


_entry = functools.partial(tuple.__new__, Entry)
"""An Entry of a value and a time, in half the time that its own constructor takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which entries of a table a purge is about."""

    corpus_ids: Collection[str] | None = None
    """Those of these versions alone; None: of all, and of none."""
    before: float | None = None
    """Those written before then alone, seconds since the epoch."""


def read(connection: sqlite3.Connection, table: CacheTable, keys: Iterable[bytes]) -> dict[bytes, Entry]:
    """The entries under `keys` that exist and are as they were written."""
    ids = {key: id_of(key) for key in keys}
    found: dict[bytes, Entry] = {}
    columns = "key, value, checksum, created"
    for key, value, check, created in _rows(connection, table, columns, ids.values(), -math.inf):
        if type(value) is bytes and type(created) is float and checksum(value, ids.get(key, 0)) == check:
            found[key] = _entry((value, created))
        else:
            _warn_of_damage(table, key)
    return found


def read_values(
    connection: sqlite3.Connection, table: CacheTable, keys: Iterable[bytes], after: float
) -> dict[bytes, bytes]:
    """The values under `keys` alone, of entries written after `after`: a fifth faster than `read` for thousands."""
    ids = {key: id_of(key) for key in keys}
    found: dict[bytes, bytes] = {}
    for key, value, check in _rows(connection, table, "key, value, checksum", ids.values(), after):
        if type(value) is bytes and checksum(value, ids.get(key, 0)) == check:
            found[key] = value
        else:
            _warn_of_damage(table, key)
    return found


def _rows(
    connection: sqlite3.Connection, table: CacheTable, columns: str, ids: Iterable[int], after: float
) -> Iterator[tuple[Any, ...]]:
    """Columns of the entries with these ids that were written after `after`; damage may have made anything of them."""

    def parts() -> Iterator[sqlite3.Cursor]:
        left = list(ids)
        while left:
            size = _KEYS_PER_SELECT[min(bisect.bisect_left(_KEYS_PER_SELECT, len(left)), len(_KEYS_PER_SELECT) - 1)]
            part, left = left[:size], left[size:]
            yield connection.execute(_select(table, columns, size), [*part, *[None] * (size - len(part)), after])

    return itertools.chain.from_iterable(parts())


@functools.cache
def _select(table: CacheTable, columns: str, size: int) -> str:
    # In the order of the arguments: IN would sort them first, into a table of its own.
    return (
        f"WITH wanted (id) AS (VALUES {','.join(['(?)'] * size)}) SELECT {columns} FROM wanted "
        f"CROSS JOIN {table}_places AS place USING (id) CROSS JOIN {table} AS entry USING (row) WHERE created > ?"
    )


def _warn_of_damage(table: CacheTable, key: Any) -> None:
    logger.warning("entry %s of %s is damaged and ignored", key.hex() if type(key) is bytes else key, table)


def insert(
    connection: sqlite3.Connection, table: CacheTable, items: Mapping[bytes, bytes], now: float, corpus_id: str
) -> None:
    """Writes or replaces entries."""
    rows = []
    for key, value in items.items():
        key_id = id_of(key)
        rows.append((key_id, key, checksum(value, key_id), now, corpus_id, value))
    connection.executemany(insertion(table), rows)


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
        places = connection.execute(
            f"SELECT id, row, size FROM {table}_places ORDER BY accessed, row LIMIT {_EVICTED_ROWS}"
        ).fetchall()
        if not places:
            # What is left, if anything, has lost its place by damage.
            connection.execute(f"DELETE FROM {table}")
            recount(connection, table)
            break
        chosen = []
        for place in places:
            if excess <= 0:
                break
            chosen.append(place)
            excess -= place[2]
        connection.executemany(f"DELETE FROM {table}_places WHERE id = ?", [(key_id,) for key_id, _, _ in chosen])
        connection.executemany(f"DELETE FROM {table} WHERE row = ?", [(row,) for _, row, _ in chosen])
        count += len(chosen)
    connection.execute("UPDATE tables SET evictions = evictions + ? WHERE name = ?", [count, table])
    return count


def expire(connection: sqlite3.Connection, table: CacheTable, until: float) -> int:
    """Deletes entries written at `until` or before, of those written first BATCH_ROWS at most; returns how many."""
    oldest = f"SELECT row FROM {table} ORDER BY row LIMIT {BATCH_ROWS}"
    count = connection.execute(f"DELETE FROM {table} WHERE row IN ({oldest}) AND created <= ?", [until]).rowcount
    if count:
        connection.execute("UPDATE tables SET expired = expired + ? WHERE name = ?", [count, table])
    return count


def note_accesses(connection: sqlite3.Connection, table: CacheTable, accessed: Iterable[tuple[int, float]]) -> None:
    """Sets when entries, by id, were read last; an access that another process has noted since stays."""
    connection.executemany(f"UPDATE {table}_places SET accessed = ?2 WHERE id = ?1 AND accessed < ?2", accessed)


def used_last(
    connection: sqlite3.Connection, table: CacheTable, corpus_ids: Collection[str] | None, since: float
) -> list[bytes]:
    """Keys of the entries, of `corpus_ids` if given, read after they were written, since `since`, last one first."""
    where, arguments = _of_corpora(corpus_ids)
    rows = connection.execute(
        f"SELECT key FROM {table} AS entry JOIN {table}_places AS place USING (row) "
        f"WHERE accessed > created AND accessed >= ? {where} ORDER BY accessed DESC",
        [since, *arguments],
    )
    return [key for (key,) in rows if type(key) is bytes]


def count_reads(connection: sqlite3.Connection, table: CacheTable, hits: int, misses: int) -> None:
    """Adds to the counts of `table`."""
    connection.execute("UPDATE tables SET hits = hits + ?, misses = misses + ? WHERE name = ?", [hits, misses, table])


def last_row(connection: sqlite3.Connection, table: CacheTable) -> int:
    """The row written last; 0 if there is none."""
    row: int = connection.execute(f"SELECT coalesce(max(row), 0) FROM {table}").fetchone()[0]
    return row


def matching(
    connection: sqlite3.Connection, table: CacheTable, selection: Selection, after: int, last: int
) -> list[tuple[int, int]]:
    """Row ids, ascending, and sizes of the entries of a selection, at most BATCH_ROWS from behind `after` to `last`."""
    where, corpus_ids = _of_corpora(selection.corpus_ids)
    arguments: list[int | float | str] = [after, last, *corpus_ids]
    if selection.before is not None:
        where += " AND created < ?"
        arguments.append(selection.before)
    return connection.execute(
        f"SELECT row, {size_of()} FROM {table} WHERE row > ? AND row <= ? {where} ORDER BY row LIMIT {BATCH_ROWS}",
        arguments,
    ).fetchall()


def _of_corpora(corpus_ids: Collection[str] | None) -> tuple[str, list[str]]:
    """A condition, for behind another one, and its arguments."""
    if corpus_ids is None:
        return "", []
    # The first of the two is what lets the index be used, which has the entries of a version alone.
    return f"AND corpus_id != '' AND corpus_id IN ({', '.join('?' * len(corpus_ids))})", list(corpus_ids)


def delete(connection: sqlite3.Connection, table: CacheTable, rows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Deletes rows; returns those that were there."""
    statement = f"DELETE FROM {table} WHERE row = ?"
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
        f"(SELECT created FROM {table} ORDER BY row LIMIT 1) AS oldest, "
        f"(SELECT created FROM {table} ORDER BY row DESC LIMIT 1) AS newest, "
        f"(SELECT min(accessed) FROM {table}_places) AS oldest_access FROM tables WHERE name = ?",
        [table],
    )
    values = cursor.fetchone()
    if values is None:
        raise sqlite3.DatabaseError(f"the size of {table} is missing")
    return dict(zip((column[0] for column in cursor.description), values, strict=True))
