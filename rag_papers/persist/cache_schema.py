"""What the cache database is made of, and how a file of an earlier version becomes one of this.

A table of entries is an ordinary rowid table, small columns first. An entry that is replaced is inserted anew, so the
order of the rowids is the order of writing: what is oldest is found, and expires, without an index. Triggers keep the
size of every table, and count in `epoch` whatever removes or replaces an entry: an entry in memory is valid as long as
the epoch is the one that it was read at.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from enum import StrEnum

SCHEMA_VERSION = 2
"""PRAGMA user_version of the files that this code reads and writes."""

CONVERTIBLE_VERSIONS = (1,)
"""Versions of files whose entries `convert` takes over."""

# benchmarks/cache_store.py --choices compares. Vectors of 384 dimensions take a fifth less than in pages of 4096 bytes.
_PAGE_BYTES = 8192
_CACHE_KIB = 8192  # of pages, for each connection; a mapped file would be faster, and kill whoever reads when it is cut
_LOG_PAGES = 4000  # after which the log is moved to the file, which waits for the disk


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


def checksum(key: bytes, value: bytes) -> int:
    """CRC-32 of an entry; of the key too, so that a value found under another key is damage."""
    return zlib.crc32(value, zlib.crc32(key))


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
    connection.execute("PRAGMA recursive_triggers = ON")  # else REPLACE deletes without its trigger
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
    connection.create_function("checksum", 2, checksum, deterministic=True)
    connection.create_function("crc32", 1, zlib.crc32, deterministic=True)
    connection.execute("ATTACH ? AS earlier", [path])
    try:
        with transaction(connection):
            for table in _CONVERTED:
                connection.execute(
                    f"INSERT OR IGNORE INTO {table} (key, crc, created, accessed, value) "
                    f"SELECT key, checksum(key, value), created, created, value FROM earlier.{table} "
                    "WHERE typeof(key) = 'blob' AND typeof(value) = 'blob' AND typeof(created) = 'real' "
                    "AND crc32(value) = crc ORDER BY created"
                )
            connection.execute("UPDATE tables SET puts = 0")
    finally:
        connection.execute("DETACH earlier")


def recount(connection: sqlite3.Connection, table: CacheTable) -> None:
    """Sets the size of `table` to what its rows say: damage may have parted the two. Within a transaction."""
    connection.execute(
        "UPDATE tables SET (count, bytes, epoch) = (SELECT count(*), coalesce(sum(length(key) + length(value)), 0), "
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
    row = "length({0}.key) + length({0}.value)"
    old, new = row.format("old"), row.format("new")
    # The epoch begins anywhere: what was read from one file must not seem to be valid in the next.
    where = f"WHERE name = '{table}'"
    for statement in (
        f"CREATE TABLE {table} (key BLOB NOT NULL UNIQUE, crc INTEGER NOT NULL, created REAL NOT NULL, "
        "accessed REAL NOT NULL, corpus_id TEXT NOT NULL DEFAULT '', value BLOB NOT NULL)",
        f"CREATE INDEX {table}_by_access ON {table} (accessed)",
        f"CREATE INDEX {table}_by_corpus ON {table} (corpus_id) WHERE corpus_id != ''",
        f"CREATE TRIGGER {table}_insert AFTER INSERT ON {table} BEGIN "
        f"UPDATE tables SET count = count + 1, bytes = bytes + {new}, puts = puts + 1 {where}; END",
        f"CREATE TRIGGER {table}_delete AFTER DELETE ON {table} BEGIN "
        f"UPDATE tables SET count = count - 1, bytes = bytes - ({old}), epoch = epoch + 1 {where}; END",
        f"CREATE TRIGGER {table}_update AFTER UPDATE OF key, value ON {table} BEGIN "
        f"UPDATE tables SET bytes = bytes + {new} - ({old}), epoch = epoch + 1 {where}; END",
        f"INSERT INTO tables (name, count, bytes, epoch, {_COUNTERS}) "
        f"VALUES ('{table}', 0, 0, abs(random() >> 2), 0, 0, 0, 0, 0)",
    ):
        connection.execute(statement)
