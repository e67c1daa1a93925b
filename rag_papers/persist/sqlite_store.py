"""The cache database: tables of bytes by key in one SQLite file that several processes share.

A cache is never a reason to fail: what cannot be read is a miss, what cannot be written is skipped, a file that is no
database, or one of another version, is set aside and a new one begun. Every such event is logged.
"""

import contextlib
import dataclasses
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""PRAGMA user_version of the files that this code reads and writes."""

_BUSY_SECONDS = 10.0
_KEYS_PER_SELECT = 500


class CacheTable(StrEnum):
    """The tables of the database."""

    EMBEDDINGS = "embeddings"
    RETRIEVAL = "retrieval"
    ANSWERS = "answers"
    SESSIONS = "sessions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A value and when it was written."""

    value: bytes
    created: float
    """Seconds since the epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableStats:
    """Size and age of one table."""

    count: int
    total_bytes: int
    """Bytes of keys and values."""
    oldest: float | None
    """When the oldest entry was written, seconds since the epoch; None if the table is empty."""
    newest: float | None
    """When the newest entry was written."""


class SqliteStore:
    """Bytes by key in the tables of one SQLite file. Safe to share between threads; processes open their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._generation = 0
        self._closed = False

    def get_many(self, table: CacheTable, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries that exist and are whole, by key."""
        found: dict[bytes, Entry] = {}
        with self._forgiving(f"reading {table}"), self._connection() as connection:
            for start in range(0, len(keys), _KEYS_PER_SELECT):
                part = keys[start : start + _KEYS_PER_SELECT]
                marks = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, value, crc, created FROM {table} WHERE key IN ({marks})", part)
                for key, value, crc, created in rows:
                    if isinstance(value, bytes) and zlib.crc32(value) == crc:
                        found[key] = Entry(value=value, created=created)
                    else:
                        logger.warning("%s: entry %s of %s is damaged and ignored", self.path, key.hex(), table)
        return found

    def get(self, table: CacheTable, key: bytes) -> Entry | None:
        """The entry under `key`, if it exists and is whole."""
        return self.get_many(table, [key]).get(key)

    def put_many(self, table: CacheTable, items: Mapping[bytes, bytes]) -> None:
        """Writes or replaces entries in one transaction."""
        now = time.time()
        rows = [(key, value, zlib.crc32(value), now) for key, value in items.items()]
        with self._forgiving(f"writing {table}"), self._connection() as connection, _transaction(connection):
            connection.executemany(
                f"INSERT INTO {table} (key, value, crc, created) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "value = excluded.value, crc = excluded.crc, created = excluded.created",
                rows,
            )

    def put(self, table: CacheTable, key: bytes, value: bytes) -> None:
        """Writes or replaces one entry."""
        self.put_many(table, {key: value})

    def purge(self, tables: Iterable[CacheTable]) -> dict[CacheTable, int]:
        """Deletes all entries of `tables` in one transaction; returns how many there were."""
        purged = dict.fromkeys(tables, 0)
        with self._forgiving("purging"), self._connection() as connection, _transaction(connection):
            for table in purged:
                purged[table] = connection.execute(f"DELETE FROM {table}").rowcount
        return purged

    def stats(self) -> dict[CacheTable, TableStats]:
        """Size and age of every table."""
        result = {table: TableStats(count=0, total_bytes=0, oldest=None, newest=None) for table in CacheTable}
        with self._forgiving("measuring"), self._connection() as connection:
            for table in CacheTable:
                count, size, oldest, newest = connection.execute(
                    "SELECT count(*), coalesce(sum(length(key) + length(value)), 0), min(created), max(created) "
                    f"FROM {table}"
                ).fetchone()
                result[table] = TableStats(count=count, total_bytes=size, oldest=oldest, newest=newest)
        return result

    def file_bytes(self) -> int:
        """Size of the database and its write-ahead log, bytes."""
        return sum(path.stat().st_size for path in _files(self.path) if path.exists())

    def vacuum(self) -> None:
        """Returns the space of deleted entries to the file system."""
        with self._forgiving("vacuuming"), self._connection() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Closes the connections of all threads; nothing may be in use."""
        with self._lock:
            self._closed = True
            self._generation += 1
            self._drop_connections()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # A connection belongs to one thread of one process; one made before the file was set aside is stale.
        stamp = (os.getpid(), self._generation)
        if getattr(self._local, "stamp", None) != stamp:
            self._drop_stale()
            self._local.connection = self._connect()
            self._local.stamp = stamp
        yield self._local.connection

    def _connect(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._local.file = _file_id(self.path)
            # Under the lock: SQLite opens the write-ahead log, by its name, at the first statement.
            try:
                _prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connections.append(connection)
        return connection

    def _drop_stale(self) -> None:
        """Closes the connection that this thread had to a file that was set aside."""
        process, _ = getattr(self._local, "stamp", (None, None))
        if process == os.getpid():
            with self._lock, contextlib.suppress(ValueError, sqlite3.Error):
                self._connections.remove(self._local.connection)
                self._local.connection.close()

    @contextlib.contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        generation = self._generation
        try:
            yield
        except sqlite3.DatabaseError as error:
            logger.warning("%s: %s failed: %s", self.path, what, error)
            if _is_damage(error) and not self._closed:
                self._set_aside(generation)

    def _set_aside(self, generation: int) -> None:
        """Moves the damaged file away for inspection, unless another thread or process has done so already."""
        with self._lock:
            if generation != self._generation:
                return
            # Other threads may be inside their connections: each closes its own when it comes to the next generation.
            self._generation += 1
            if _file_id(self.path) != self._local.file:
                return
            suffix = time.strftime(".damaged-%Y%m%dT%H%M%S", time.gmtime()) + f"-{os.getpid()}"
            aside = self.path.with_name(self.path.name + suffix)
            for path, target in zip(_files(self.path), _files(aside), strict=True):
                with contextlib.suppress(FileNotFoundError):
                    path.rename(target)
            logger.warning(
                "%s is damaged or of another version; set aside as %s, a new one begins", self.path, aside.name
            )

    def _drop_connections(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self._connections.clear()


def _files(path: Path) -> list[Path]:
    """A database, its write-ahead log and the index of that, by the names that SQLite gives them."""
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # The subclasses stand for a file that is sound (busy, disk full, read-only), but for the one whose code says that
    # our SQL is wrong: then the tables are not ours.
    return type(error) is sqlite3.DatabaseError or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _prepare(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise sqlite3.DatabaseError(f"schema version {version}")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = NORMAL")
    if version == SCHEMA_VERSION:
        return
    with _transaction(connection):
        for table in CacheTable:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, "
                "crc INTEGER NOT NULL, created REAL NOT NULL)"
            )
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE takes the write lock at the start: a later upgrade could fail at once instead of waiting its turn.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
