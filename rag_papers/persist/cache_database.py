"""The file of the cache database: its connections, its damage, and its versions.

Whatever goes wrong with the file is logged and answered with a default: a cache is never a reason to fail. A file that
is no database, or one of a version that cannot be converted, is set aside and a new one begun.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from rag_papers.persist.cache_schema import (
    CONVERTIBLE_VERSIONS,
    SCHEMA_VERSION,
    convert,
    prepare,
    transaction,
    version_of,
)

logger = logging.getLogger(__name__)

MAX_SET_ASIDE = 3
"""Damaged files that are kept for inspection."""

_BUSY_SECONDS = 10.0
_OPEN_SECONDS = 5.0
_DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # our SQL is wrong: then the tables are not ours
        sqlite3.SQLITE_IOERR_SHORT_READ,  # the file, or its log, was cut short
    }
)

# A message of SQLite may quote what damage made of a name: then it is the message that cannot be decoded.
_FAILURES = (sqlite3.Error, OSError, UnicodeDecodeError)

T = TypeVar("T")
_FileId = tuple[int, int] | None


class _Own(threading.local):
    """What one thread has."""

    connection: sqlite3.Connection | None = None
    process = 0
    """The one that it was opened in."""
    file: _FileId = None
    """The one that it leads to."""


class CacheDatabase:
    """One SQLite file. Safe to share between threads and over forks; other processes open their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._own = _Own()
        self._connections: dict[threading.Thread, tuple[int, sqlite3.Connection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def read(self, what: str, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` returns, given a connection; `otherwise` if the file fails. `what` is it for the log.

        Where the file turns out to be damaged, `work` is done again on a new one.
        """
        for _ in range(2):
            try:
                return work(self._connection())
            except _FAILURES as error:
                logger.warning("%s: %s failed: %s", self.path, what, error)
                if self._closed or not _is_damage(error) or not self._set_aside():
                    break
        return otherwise

    def write(self, what: str, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """As `read`, in a transaction that writes."""

        def within(connection: sqlite3.Connection) -> T:
            with transaction(connection):
                return work(connection)

        return self.read(what, within, otherwise)

    def file_bytes(self) -> int:
        """Size of the database and its write-ahead log, bytes."""
        total = 0
        for path in _files(self.path):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Closes the connections of all threads; nothing may be in use."""
        with self._lock:
            self._closed = True
            for thread in list(self._connections):
                self._disconnect(thread)

    def _connection(self) -> sqlite3.Connection:
        # A connection belongs to one thread of one process, and to the file that lies at the path now: another process
        # may have set aside, or somebody deleted, the one that it was made for.
        own = self._own
        if own.connection is None or own.process != os.getpid() or own.file != file_id(self._name) or self._closed:
            return self._reconnect()
        return own.connection

    def _reconnect(self) -> sqlite3.Connection:
        own = self._own
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            own.connection = None
            this = threading.current_thread()
            for thread in [thread for thread in self._connections if thread is this or not thread.is_alive()]:
                self._disconnect(thread)
            # Of all processes one at a time opens or moves the file: SQLite finds the log by the file's name.
            with self._alone():
                own.connection = self._connect()
            own.process = os.getpid()
            self._connections[this] = (own.process, own.connection)
            return own.connection

    def _disconnect(self, thread: threading.Thread) -> None:
        process, connection = self._connections.pop(thread)
        if process == os.getpid():  # what was opened before a fork belongs to the parent
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = self._open()
        try:
            earlier = self.path.with_name(f"{self.path.name}.earlier")
            if version_of(connection) in CONVERTIBLE_VERSIONS and not earlier.exists():
                connection.close()
                _move(self.path, earlier)
                connection = self._open()
            prepare(connection)
            if earlier.exists():
                self._convert(connection, earlier)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._own.file = file_id(self.path)
        return connection

    def _convert(self, connection: sqlite3.Connection, earlier: Path) -> None:
        start = time.perf_counter()
        try:
            convert(connection, str(earlier))
        except _FAILURES as error:
            logger.warning("%s cannot be converted to version %d: %s", earlier, SCHEMA_VERSION, error)
            self._keep_aside(earlier)
            return
        for path in _files(earlier):
            path.unlink(missing_ok=True)
        logger.info("%s: converted to version %d in %.1f s", self.path, SCHEMA_VERSION, time.perf_counter() - start)

    def _set_aside(self) -> bool:
        """Moves the damaged file away for inspection, unless another thread or process has; whether it is away."""
        damaged = self._own.file
        try:
            with self._lock, self._alone():
                # Other threads may be inside their connections: each closes its own when it comes to the next file.
                if damaged is not None and file_id(self.path) == damaged:
                    aside = self._keep_aside(self.path)
                    logger.warning(
                        "%s is damaged or of another version; set aside as %s, a new one begins", self.path, aside.name
                    )
        except (OSError, sqlite3.OperationalError) as error:
            logger.warning("%s is damaged or of another version, and cannot be set aside: %s", self.path, error)
            return False
        return True

    def _keep_aside(self, path: Path) -> Path:
        """Renames a file for inspection, and deletes the oldest of those that were before."""
        suffix = time.strftime(".damaged-%Y%m%dT%H%M%S", time.gmtime()) + f"-{time.time_ns() % 10**9:09}"
        aside = self.path.with_name(self.path.name + suffix)
        _move(path, aside)
        kept = sorted(self.path.parent.glob(f"{self.path.name}.damaged-*[0-9]"))
        for old in kept[:-MAX_SET_ASIDE]:
            for file in _files(old):
                with contextlib.suppress(OSError):
                    file.unlink()
        return aside

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock file; without it where none can be made, as then there is nothing to open or to move."""
        try:
            lock = self.path.with_name(f"{self.path.name}.lock").open("ab")
        except OSError:
            yield
            return
        with lock:
            _take(lock)
            yield


def _take(lock: BinaryIO) -> None:
    """Takes the lock. Raises sqlite3.OperationalError if another process, converting or standing still, keeps it."""
    patience = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > patience:
                raise sqlite3.OperationalError("another process is opening it") from None
            time.sleep(0.01)


def _files(path: Path) -> list[Path]:
    """A database, its write-ahead log and the index of that, by the names that SQLite gives them."""
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]


def _move(path: Path, target: Path) -> None:
    for source, place in zip(_files(path), _files(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            source.rename(place)


def file_id(path: Path | str) -> _FileId:
    """Tells a file from another one at the same path; None if there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - at every read, and a Path takes twice as long
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _is_damage(error: sqlite3.Error | OSError | UnicodeDecodeError) -> bool:
    # The other classes stand for a file that is sound (busy, disk full, read-only), but for these codes. No constraint
    # can fail in a sound one.
    damage = type(error) in (sqlite3.DatabaseError, sqlite3.IntegrityError, UnicodeDecodeError)
    return damage or getattr(error, "sqlite_errorcode", None) in _DAMAGE_CODES
