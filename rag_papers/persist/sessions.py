"""Sessions: their turns, in order, in the cache database's table of sessions.

They are data: what cannot be read or written is an error, and no cache evicts them. They go when they are deleted, when
the table is purged, and, whole, when their retention is over.
A turn is a row whose key is the session's 16 bytes and the turn's number; a session is the turns that it has.
"""

import dataclasses
import itertools
import json
import logging
import math
import secrets
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from rag_papers.errors import SessionNotFound, SessionsUnavailable
from rag_papers.persist import cache_rows
from rag_papers.persist.cache_database import CacheDatabase
from rag_papers.persist.cache_schema import CacheTable, size_of

logger = logging.getLogger(__name__)

_TABLE = CacheTable.SESSIONS
_ID_BYTES = 16
_NUMBER = struct.Struct(">I")
_LAST = b"\xff" * _NUMBER.size
_TURNS_AT_ONCE = 16
_DAY_SECONDS = 86400.0
_RETAIN_SECONDS = 3600.0  # between two looks at what has to go

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """A session as a list shows it."""

    session_id: str
    created: float
    """When its first turn was stored, seconds since the epoch."""
    updated: float
    """When its last turn was."""
    turn_count: int
    title: str
    """The first question as it was asked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """How long sessions stay. They go whole: half of one could not be understood."""

    days: float = 0.0
    """Age of its last turn from which on a session goes; 0: none goes for its age."""
    max_bytes: int = 0
    """Most bytes of all turns, keys and values; the sessions that are idle longest go first. 0: no bound."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTurn:
    """One turn."""

    number: int
    """From 1."""
    created: float
    """When it was stored, seconds since the epoch."""
    query: str
    """The question as it was asked."""
    resolved_query: str
    """The question that was answered."""
    response: bytes
    """Serialised."""


def new_session_id() -> str:
    """An id that nobody can guess: 128 random bits, 32 hex digits."""
    return secrets.token_hex(_ID_BYTES)


class SessionStore:
    """The sessions of one cache database. Safe to share between threads; processes open their own.

    Every method raises SessionsUnavailable if the database fails.
    """

    def __init__(self, database: CacheDatabase, retention: Retention = Retention()) -> None:
        self._database = database
        self._retention = retention
        self._retained = -math.inf

    def append(self, session_id: str, *, query: str, resolved_query: str, response: bytes, is_new: bool) -> int:
        """Stores a turn behind those that are there, and returns its number.

        Raises SessionNotFound if the session is not new and does not, or no longer, exist.
        """
        session = _key(session_id)
        head = json.dumps({"query": query, "resolved_query": resolved_query}).encode()
        value = b"%s\n%s" % (head, response)

        def work(connection: sqlite3.Connection) -> int:
            number = 1 if is_new else _count(connection, session) + 1
            cache_rows.insert(connection, _TABLE, {session + _NUMBER.pack(number): value}, time.time(), "")
            return number

        # A turn that was stored survives the machine's end too, unlike what a cache loses.
        self._read(lambda connection: connection.execute("PRAGMA synchronous = FULL"))
        number = _known(self._database.write("storing a turn", work, None), "stored")
        if is_new and time.monotonic() >= self._retained + _RETAIN_SECONDS:
            self._retained = time.monotonic()
            self.retain()
        return number

    def retain(self) -> int:
        """Deletes the sessions whose retention is over, but for the newest; returns how many.

        Done with the first session of a process, and then with the first of every hour.
        """
        work = partial(_retain, retention=self._retention)
        if gone := self._database.write("deleting old sessions", work, 0):
            logger.info("deleted %d sessions whose retention is over", gone)
        return gone

    def get(self, session_id: str) -> Session:
        """A session. Raises SessionNotFound."""
        return self._read(partial(_session, session=_key(session_id)))

    def page(self, size: int, after: str = "") -> tuple[list[Session], bool]:
        """Sessions, the one with the newest turn first, behind the session `after`; and whether there are more.

        Raises SessionNotFound if `after` is none.
        """

        def work(connection: sqlite3.Connection) -> tuple[list[Session], bool]:
            newest_first = sorted(_sessions(connection), key=lambda session: (-_updated(connection, session), session))
            if after and _key(after) not in newest_first:
                raise SessionNotFound("there is no such session")
            start = newest_first.index(_key(after)) + 1 if after else 0
            found = [_session(connection, session) for session in newest_first[start : start + size]]
            return found, start + size < len(newest_first)

        return self._read(work)

    def last(self, session_id: str, most: int) -> list[StoredTurn]:
        """The last turns, at most `most`, in order. Raises SessionNotFound."""

        def work(connection: sqlite3.Connection) -> list[StoredTurn]:
            count = _count(connection, _key(session_id))
            return _turns(connection, _key(session_id), max(0, count - most), count)

        return self._read(work)

    def turns(self, session_id: str, after: int = 0) -> Iterator[StoredTurn]:
        """The turns behind the `after`th, in order, read as they are asked for. Raises SessionNotFound at once."""
        session = _key(session_id)
        count = self._read(partial(_count, session=session))

        def parts() -> Iterator[StoredTurn]:
            for start in range(after, count, _TURNS_AT_ONCE):
                end = min(start + _TURNS_AT_ONCE, count)
                yield from self._read(partial(_turns, session=session, after=start, until=end))

        return parts()

    def delete(self, session_id: str) -> int:
        """Deletes a session; returns how many turns it had. Raises SessionNotFound."""
        work = partial(_delete, session=_key(session_id))
        return _known(self._database.write("deleting a session", work, None), "deleted")

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return _known(self._database.read("reading a session", work, None), "read")


def _known(result: T | None, what: str) -> T:
    if result is None:
        raise SessionsUnavailable(f"the session cannot be {what}: the service's log says why")
    return result


def _key(session_id: str) -> bytes:
    """The bytes of an id. Raises SessionNotFound for what is none."""
    try:
        session = bytes.fromhex(session_id)
    except ValueError:
        session = b""
    if len(session) != _ID_BYTES or session.hex() != session_id:
        raise SessionNotFound("there is no such session")
    return session


def _count(connection: sqlite3.Connection, session: bytes) -> int:
    """Turns of a session. Raises SessionNotFound if there are none."""
    row = connection.execute(
        f"SELECT max(key) FROM {_TABLE} WHERE key > ? AND key <= ?", [session, session + _LAST]
    ).fetchone()
    if row[0] is None:
        raise SessionNotFound("there is no such session")
    return int(_NUMBER.unpack_from(row[0], _ID_BYTES)[0])


def _turns(connection: sqlite3.Connection, session: bytes, after: int, until: int) -> list[StoredTurn]:
    """The turns behind the `after`th up to the `until`th; one that is damaged is left out."""
    keys = [session + _NUMBER.pack(number) for number in range(after + 1, until + 1)]
    return [_turn(key, entry) for key, entry in sorted(cache_rows.read(connection, _TABLE, keys).items())]


def _turn(key: bytes, entry: cache_rows.Entry) -> StoredTurn:
    head, _, response = entry.value.partition(b"\n")
    return StoredTurn(
        number=_NUMBER.unpack_from(key, _ID_BYTES)[0], created=entry.created, response=response, **json.loads(head)
    )


def _session(connection: sqlite3.Connection, session: bytes) -> Session:
    count = _count(connection, session)
    updated = _updated(connection, session)
    first = _turns(connection, session, 0, 1)
    return Session(
        session_id=session.hex(),
        created=first[0].created if first else updated,
        updated=updated,
        turn_count=count,
        title=first[0].query if first else "",
    )


def _updated(connection: sqlite3.Connection, session: bytes) -> float:
    key = session + _NUMBER.pack(_count(connection, session))
    return float(connection.execute(f"SELECT created FROM {_TABLE} WHERE key = ?", [key]).fetchone()[0])


def _sessions(connection: sqlite3.Connection) -> Iterator[bytes]:
    """The sessions that have turns, in order of their keys; each is found by one look into the index."""
    key = b""
    while row := connection.execute(f"SELECT min(key) FROM {_TABLE} WHERE key > ?", [key]).fetchone():
        if row[0] is None:
            return
        session = row[0][:_ID_BYTES]
        if len(row[0]) == _ID_BYTES + _NUMBER.size:
            yield session
        key = max(row[0], session + _LAST)


def _retain(connection: sqlite3.Connection, retention: Retention) -> int:
    """Deletes the sessions whose retention is over, but for the newest; returns how many."""
    oldest = time.time() - retention.days * _DAY_SECONDS if retention.days else -math.inf
    newest_first = connection.execute(
        f"SELECT substr(key, 1, {_ID_BYTES}), max(created), sum({size_of()}) FROM {_TABLE} "
        f"WHERE length(key) = {_ID_BYTES + _NUMBER.size} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    total = itertools.accumulate(size for *_, size in newest_first)
    gone = [
        session
        for (session, updated, _), size in itertools.islice(zip(newest_first, total, strict=True), 1, None)
        if updated < oldest or 0 < retention.max_bytes < size
    ]
    for session in gone:
        _delete(connection, session)
    return len(gone)


def _delete(connection: sqlite3.Connection, session: bytes) -> int:
    count = _count(connection, session)
    connection.execute(f"DELETE FROM {_TABLE} WHERE key > ? AND key <= ?", [session, session + _LAST])
    return count
