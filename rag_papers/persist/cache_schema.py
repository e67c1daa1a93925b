"""What the cache database is made of, and how a file of an earlier version becomes one of this.

A table has two parts. Its entries are an ordinary rowid table in the order of writing: an entry that is replaced is
inserted anew, so what is oldest is found, and expires, without an index, and large values are only ever appended. Its
places are small: by the 64-bit hash of a key, in which row the entry is and when it was used last; that a use is noted
rewrites no value. Triggers keep both parts and the size of the table together, and count in `epoch` whatever removes or
replaces an entry: an entry in memory is valid as long as the epoch is the one that it was read at.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from enum import StrEnum

import xxhash

SCHEMA_VERSION = 3
"""PRAGMA user_version of the files that this code reads and writes."""

CONVERTIBLE_VERSIONS = (1, 2)
"""Versions of files whose entries `convert` takes over."""

# benchmarks/cache_store.py --choices compares. Larger pages hold vectors of 384 dimensions in a fifth less space, but a
# put writes three pages or four.
_PAGE_BYTES = 4096
_CACHE_KIB = 32768  # of pages, at most, for each connection
_LOG_PAGES = 8000  # after which who writes waits for the log to be moved to the file; `cache_log` is sooner


class CacheTable(StrEnum):
    """The tables of the database."""

    EMBEDDINGS = "embeddings"
    RETRIEVAL = "retrieval"
    ANSWERS = "answers"
    SESSIONS = "sessions"


# What is dear: a vector costs the model's time, a session cannot be had again. Rankings and answers of an earlier
# version of this code are under keys that are not asked for any more.
_CONVERTED = (CacheTable.EMBEDDINGS, CacheTable.SESSIONS)

_COUNTERS = "hits, misses, puts, evictions, expired"


def id_of(key: bytes) -> int:
    """The id of the place of a key: 63 bits of XXH3. Of two keys that share it one is kept."""
    return xxhash.xxh3_64_intdigest(key) >> 1


checksum = xxhash.xxh3_64_digest
"""Of a value, seeded with the id of its key: a value found under another key is damage."""


def prepare(connection: sqlite3.Connection) -> None:
    """Sets a new connection up, and makes the tables of a new file. Raises sqlite3.Error, of another version too."""
    # Damage may turn any column into text that is none; it must not fail the rows beside it.
    connection.text_factory = lambda data: data.decode(errors="replace")
    version = version_of(connection)
    if version not in (0, SCHEMA_VERSION):
        raise sqlite3.DatabaseError(f"schema version {version}")
    if version == 0:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    if version == SCHEMA_VERSION:
        return
    with transaction(connection):
        connection.execute(
            "CREATE TABLE tables (name TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL, "
            "epoch INTEGER NOT NULL, hits INTEGER NOT NULL, misses INTEGER NOT NULL, puts INTEGER NOT NULL, "
            "evictions INTEGER NOT NULL, expired INTEGER NOT NULL) WITHOUT ROWID"
        )
        for table in CacheTable:
            _create(connection, table)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of a file; 0 if it is new."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def convert(connection: sqlite3.Connection, path: str) -> None:
    """Takes over the entries of the file `path`, which has one of CONVERTIBLE_VERSIONS. Raises sqlite3.Error."""
    connection.execute("ATTACH ? AS earlier", [path])
    try:
        with transaction(connection):
            for table in _CONVERTED:
                rows = connection.execute(f"SELECT key, value, crc, created FROM earlier.{table} ORDER BY rowid")
                connection.executemany(
                    insertion(table),
                    (
                        (key_id := id_of(key), key, checksum(value, key_id), created, "", value)
                        for key, value, crc, created in rows
                        if type(key) is type(value) is bytes
                        and type(created) is float
                        and crc in (zlib.crc32(value), zlib.crc32(value, zlib.crc32(key)))  # of version 1, of version 2
                    ),
                )
            connection.execute("UPDATE tables SET puts = 0")
    finally:
        connection.execute("DETACH earlier")


def insertion(table: CacheTable) -> str:
    """The statement that writes, or replaces, an entry."""
    return f"INSERT INTO {table} (id, key, checksum, created, corpus_id, value) VALUES (?, ?, ?, ?, ?, ?)"


def size_of(row: str = "") -> str:
    """What an entry counts, in bytes, as an SQL expression; `row` is the prefix of its columns."""
    return f"length({row}key) + length({row}value)"


def recount(connection: sqlite3.Connection, table: CacheTable) -> None:
    """Sets the size of `table` to what its rows say: damage may have parted the two. Within a transaction."""
    connection.execute(
        f"UPDATE tables SET (count, bytes, epoch) = (SELECT count(*), coalesce(sum({size_of()}), 0), "
        f"epoch + 1 FROM {table}) WHERE name = ?",
        [table],
    )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that writes."""
    # IMMEDIATE takes the write lock at the start: a later upgrade could fail at once instead of waiting its turn.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _create(connection: sqlite3.Connection, table: CacheTable) -> None:
    old, new = size_of("old."), size_of("new.")
    where = f"WHERE name = '{table}'"
    # The epoch begins anywhere: what was read from one file must not seem to be valid in the next.
    for statement in (
        f"CREATE TABLE {table} (row INTEGER PRIMARY KEY, id INTEGER NOT NULL, key BLOB NOT NULL, "
        "checksum BLOB NOT NULL, created REAL NOT NULL, corpus_id TEXT NOT NULL, value BLOB NOT NULL)",
        f"CREATE TABLE {table}_places (id INTEGER PRIMARY KEY, row INTEGER NOT NULL, size INTEGER NOT NULL, "
        "accessed REAL NOT NULL)",
        f"CREATE INDEX {table}_by_corpus ON {table} (corpus_id) WHERE corpus_id != ''",
        f"CREATE TRIGGER {table}_replace BEFORE INSERT ON {table} BEGIN "
        f"DELETE FROM {table} WHERE row = (SELECT row FROM {table}_places WHERE id = new.id); END",
        f"CREATE TRIGGER {table}_insert AFTER INSERT ON {table} BEGIN "
        f"INSERT OR REPLACE INTO {table}_places VALUES (new.id, new.row, {new}, new.created); "
        f"UPDATE tables SET count = count + 1, bytes = bytes + {new}, puts = puts + 1 {where}; END",
        f"CREATE TRIGGER {table}_delete AFTER DELETE ON {table} BEGIN "
        f"DELETE FROM {table}_places WHERE id = old.id AND row = old.row; "
        f"UPDATE tables SET count = count - 1, bytes = bytes - ({old}), epoch = epoch + 1 {where}; END",
        f"INSERT INTO tables (name, count, bytes, epoch, {_COUNTERS}) "
        f"VALUES ('{table}', 0, 0, abs(random() >> 2), 0, 0, 0, 0, 0)",
    ):
        connection.execute(statement)
    if table is CacheTable.SESSIONS:  # whose turns are found by the beginning of their keys
        connection.execute(f"CREATE INDEX {table}_by_key ON {table} (key)")
