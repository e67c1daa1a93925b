"""Sessions on disk: turns in order, none lost, none read that is not there."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_papers.errors import SessionNotFound, SessionsUnavailable
from rag_papers.persist.cache_database import CacheDatabase
from rag_papers.persist.cache_schema import CacheTable
from rag_papers.persist.sessions import Retention, SessionStore, new_session_id
from rag_papers.persist.sqlite_store import SqliteStore

NO_IDS = ["", "-", "x", "0" * 31, "0" * 33, "A" * 32, "../../etc/passwd", "0" * 30 + "é1", " " * 32, "\0" * 32]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / "cache.db"


@pytest.fixture
def database(path: Path) -> Iterator[CacheDatabase]:
    database = CacheDatabase(path)
    yield database
    database.close()


@pytest.fixture
def sessions(database: CacheDatabase) -> SessionStore:
    return SessionStore(database)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def at(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: seconds)

    at(1000.0)
    return at


def say(sessions: SessionStore, session_id: str, query: str, *, is_new: bool = False) -> int:
    return sessions.append(
        session_id, query=query, resolved_query=query.upper(), response=query.encode(), is_new=is_new
    )


def begin(sessions: SessionStore, query: str = "first") -> str:
    session_id = new_session_id()
    assert say(sessions, session_id, query, is_new=True) == 1
    return session_id


def test_ids_are_long_and_never_the_same() -> None:
    ids = {new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(bytes.fromhex(session_id)) * 8 >= 128 for session_id in ids)


def test_turns_come_back_in_order(sessions: SessionStore, clock: Callable[[float], None]) -> None:
    session_id = begin(sessions, "one\ntwo “ é \0")
    for number in range(2, 41):
        clock(1000.0 + number)
        assert say(sessions, session_id, f"question {number}") == number
    turns = list(sessions.turns(session_id))
    assert [turn.number for turn in turns] == list(range(1, 41))
    assert turns[0].query == "one\ntwo “ é \0"
    assert turns[0].resolved_query == "ONE\nTWO “ É \0"
    assert turns[0].response == "one\ntwo “ é \0".encode()
    assert turns[-1].created == 1040.0
    assert [turn.number for turn in sessions.turns(session_id, 38)] == [39, 40]
    assert [turn.number for turn in sessions.last(session_id, 3)] == [38, 39, 40]
    assert len(sessions.last(session_id, 100)) == 40
    session = sessions.get(session_id)
    assert (session.turn_count, session.created, session.updated) == (40, 1000.0, 1040.0)
    assert session.title == "one\ntwo “ é \0"


def test_sessions_are_listed_by_their_newest_turn(sessions: SessionStore, clock: Callable[[float], None]) -> None:
    assert sessions.page(10) == ([], False)
    ids = []
    for number in range(5):
        clock(1000.0 + number)
        ids.append(begin(sessions, f"first of {number}"))
    clock(2000.0)
    say(sessions, ids[1], "and?")
    order = [ids[1], ids[4], ids[3], ids[2], ids[0]]
    found, more = sessions.page(10)
    assert [session.session_id for session in found] == order
    assert not more
    assert [session.turn_count for session in found] == [2, 1, 1, 1, 1]
    page, more = sessions.page(2)
    rest, end = sessions.page(3, after=page[-1].session_id)
    assert [session.session_id for session in [*page, *rest]] == order
    assert (more, end) == (True, False)
    with pytest.raises(SessionNotFound):
        sessions.page(2, after=new_session_id())


def test_what_is_deleted_is_gone_and_the_rest_stays(sessions: SessionStore) -> None:
    gone, stays = begin(sessions), begin(sessions)
    say(sessions, gone, "second")
    assert sessions.delete(gone) == 2
    for call in (sessions.get, sessions.delete, sessions.turns):
        with pytest.raises(SessionNotFound):
            call(gone)
    with pytest.raises(SessionNotFound):
        say(sessions, gone, "third")
    assert [session.session_id for session in sessions.page(10)[0]] == [stays]


@pytest.mark.parametrize("session_id", [*NO_IDS, "0" * 32])
def test_what_is_no_session_is_not_found(sessions: SessionStore, session_id: str) -> None:
    begin(sessions)
    for call in (sessions.get, sessions.delete, sessions.turns, lambda it: sessions.last(it, 3)):
        with pytest.raises(SessionNotFound):
            call(session_id)
    with pytest.raises(SessionNotFound):
        say(sessions, session_id, "q")
    assert len(sessions.page(10)[0]) == 1


def test_neighbours_do_not_mix(sessions: SessionStore) -> None:
    low, high = "00" * 16, "ff" * 16
    middle = "00" * 15 + "01"
    for session_id in (low, high, middle):
        say(sessions, session_id, session_id, is_new=True)
        say(sessions, session_id, "second")
    assert sorted(session.session_id for session in sessions.page(10)[0]) == [low, middle, high]
    assert sessions.delete(middle) == 2
    for session_id in (low, high):
        assert [turn.query for turn in sessions.turns(session_id)] == [session_id, "second"]


def test_turns_of_many_threads_are_all_there(sessions: SessionStore) -> None:
    session_id = begin(sessions)
    numbers: list[int] = []

    def work(thread: int) -> None:
        numbers.extend(say(sessions, session_id, f"{thread} {number}") for number in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(2, 82))
    queries = [turn.query for turn in sessions.turns(session_id)]
    assert sorted(queries) == sorted(["first", *(f"{thread} {number}" for thread in range(8) for number in range(10))])
    for thread in range(8):  # in the order in which each of them spoke
        assert [query for query in queries if query.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(10)]


WRITER = """
import json, sys
from pathlib import Path
from rag_papers.persist.cache_database import CacheDatabase
from rag_papers.persist.sessions import SessionStore

path, session_id, name = sys.argv[1:]
database = CacheDatabase(Path(path))
sessions = SessionStore(database)
numbers = [
    sessions.append(session_id, query=f"{name} {n}", resolved_query="", response=b"", is_new=False) for n in range(25)
]
database.close()
print(json.dumps(numbers))
"""


def test_turns_of_several_processes_are_all_there(sessions: SessionStore, path: Path) -> None:
    session_id = begin(sessions)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), session_id, name], stdout=subprocess.PIPE)
        for name in ("a", "b")
    ]
    numbers = [number for writer in writers for number in json.loads(writer.communicate()[0])]
    assert sorted(numbers) == list(range(2, 52))
    queries = {turn.query for turn in sessions.turns(session_id)}
    assert queries == {"first", *(f"{name} {number}" for name in "ab" for number in range(25))}


def test_the_cache_counts_and_purges_them(sessions: SessionStore, path: Path) -> None:
    session_id = begin(sessions)
    say(sessions, session_id, "second")
    store = SqliteStore(path)
    try:
        stats = store.stats()[CacheTable.SESSIONS]
        assert stats.count == 2
        sessions.delete(session_id)
        assert store.stats()[CacheTable.SESSIONS].count == 0
        session_id = begin(sessions)
        store.purge([CacheTable.SESSIONS])
    finally:
        store.close()
    with pytest.raises(SessionNotFound):
        sessions.get(session_id)


def test_a_damaged_turn_does_not_hide_the_others(sessions: SessionStore, path: Path) -> None:
    session_id = begin(sessions)
    say(sessions, session_id, "second")
    for number, left in ((1, [2]), (2, [])):
        key = bytes.fromhex(session_id) + number.to_bytes(4)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE sessions SET value = 'x' WHERE key = ?", [key])
        connection.close()
        assert [turn.number for turn in sessions.turns(session_id)] == left
        assert sessions.get(session_id).turn_count == 2
    assert say(sessions, session_id, "third") == 3
    assert [session.turn_count for session in sessions.page(10)[0]] == [3]


def test_a_database_that_fails_is_said_and_not_taken_for_an_empty_one(path: Path, database: CacheDatabase) -> None:
    sessions = SessionStore(database)
    session_id = begin(sessions)
    database.close()
    for call in (
        lambda: sessions.get(session_id),
        lambda: sessions.page(10),
        lambda: sessions.turns(session_id),
        lambda: say(sessions, session_id, "q"),
        lambda: sessions.delete(session_id),
    ):
        with pytest.raises(SessionsUnavailable):
            call()


def test_sessions_stay_without_a_retention(sessions: SessionStore, clock: Callable[[float], None]) -> None:
    session_id = begin(sessions)
    clock(1e9)
    assert sessions.retain() == 0
    assert sessions.get(session_id).turn_count == 1


def test_a_session_goes_whole_when_its_last_turn_is_too_old(
    database: CacheDatabase, clock: Callable[[float], None]
) -> None:
    sessions = SessionStore(database, Retention(days=10))
    idle, alive = begin(sessions), begin(sessions)
    clock(1000.0 + 5 * 86400)
    say(sessions, alive, "second")
    clock(1000.0 + 12 * 86400)
    newest = begin(sessions)  # too soon after the first one to look again
    assert sessions.retain() == 1
    with pytest.raises(SessionNotFound):
        sessions.get(idle)
    assert [turn.number for turn in sessions.turns(alive)] == [1, 2]
    clock(1000.0 + 100 * 86400)
    assert sessions.retain() == 1
    assert [session.session_id for session in sessions.page(9)[0]] == [newest]  # the newest one stays, however old


def test_of_too_many_bytes_those_that_are_idle_longest_go(
    database: CacheDatabase, clock: Callable[[float], None]
) -> None:
    large = "x" * 1000  # is stored three times: asked, resolved, answered
    sessions = SessionStore(database, Retention(max_bytes=7000))
    ids = []
    for number in range(4):
        clock(1000.0 + number)
        ids.append(begin(sessions, large))
    clock(2000.0)
    say(sessions, ids[0], "again")
    assert sessions.retain() == 2
    assert {session.session_id for session in sessions.page(9)[0]} == {ids[0], ids[3]}
    assert SessionStore(database, Retention(max_bytes=1)).retain() == 1
    assert [session.session_id for session in sessions.page(9)[0]] == [ids[0]]


def test_the_first_new_session_of_a_process_lets_the_old_ones_go(
    database: CacheDatabase, clock: Callable[[float], None]
) -> None:
    old = begin(SessionStore(database))
    clock(1000.0 + 2 * 86400)
    sessions = SessionStore(database, Retention(days=1))
    say(sessions, old, "a turn alone changes nothing")
    clock(1000.0 + 4 * 86400)
    newest = begin(sessions)
    assert [session.session_id for session in sessions.page(9)[0]] == [newest]
