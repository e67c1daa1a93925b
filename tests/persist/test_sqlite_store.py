import contextlib
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_papers.persist import cache_database, cache_schema
from rag_papers.persist.cache_database import MAX_SET_ASIDE
from rag_papers.persist.cache_schema import SCHEMA_VERSION
from rag_papers.persist.sqlite_store import CacheTable, Purged, SqliteStore

from .processes import run_python, start_python

ANSWERS, EMBEDDINGS, RETRIEVAL = CacheTable.ANSWERS, CacheTable.EMBEDDINGS, CacheTable.RETRIEVAL


def value_of(store: SqliteStore, key: bytes, table: CacheTable = ANSWERS) -> bytes | None:
    entry = store.get(table, key)
    return entry.value if entry else None


def set_aside(store: SqliteStore) -> list[Path]:
    """The database files that the store moved away, logs not counted."""
    return sorted(store.path.parent.glob(f"{store.path.name}.damaged-*[0-9]"))


def works(store: SqliteStore) -> bool:
    store.put(ANSWERS, b"after", b"the storm")
    return value_of(store, b"after") == b"the storm"


def fill(store: SqliteStore, count: int, size: int) -> dict[bytes, bytes]:
    """Puts entries and moves them from the log to the database file."""
    items = {b"key-%d" % number: os.urandom(size) for number in range(count)}
    store.put_many(ANSWERS, items)
    store.vacuum()
    return items


class TestEntries:
    def test_come_back_as_they_were_put(self, store: SqliteStore) -> None:
        items = {b"": b"", b"\0\xff": b"\0" * 10, b"key": os.urandom(100_000)}
        store.put_many(ANSWERS, items)
        found = store.get_many(ANSWERS, [*items, b"missing"])
        assert found == items

    def test_of_one_table_are_not_those_of_another(self, store: SqliteStore) -> None:
        store.put(ANSWERS, b"key", b"answer")
        store.put(EMBEDDINGS, b"key", b"vector")
        assert value_of(store, b"key") == b"answer"
        assert value_of(store, b"key", EMBEDDINGS) == b"vector"
        assert value_of(store, b"key", RETRIEVAL) is None

    def test_are_replaced(self, store: SqliteStore) -> None:
        store.put(ANSWERS, b"key", b"old")
        store.put(ANSWERS, b"key", b"newer")
        assert value_of(store, b"key") == b"newer"
        assert store.stats()[ANSWERS].count == 1

    def test_are_found_by_thousands(self, store: SqliteStore) -> None:
        items = {number.to_bytes(4): b"%d" % number for number in range(3000)}
        store.put_many(EMBEDDINGS, items)
        found = store.get_many(EMBEDDINGS, list(items))
        assert found == items

    def test_whose_time_is_damaged_are_missing(self, store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
        store.put(ANSWERS, b"key", b"value")
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE answers SET created = 'text'")
        assert value_of(store, b"key") is None
        assert "is damaged" in caplog.text

    def test_survive_closing(self, store: SqliteStore) -> None:
        store.put(ANSWERS, b"key", b"value")
        store.close()
        again = SqliteStore(store.path)
        assert value_of(again, b"key") == b"value"
        again.close()

    @pytest.mark.parametrize(
        "damage", ["value = x'00'", "value = 'text'", "checksum = x'0123456789abcdef'", "value = x''"]
    )
    def test_that_are_damaged_are_missing(
        self, store: SqliteStore, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.put_many(ANSWERS, {b"bad": b"value", b"good": b"value"})
        with sqlite3.connect(store.path) as connection:
            connection.execute(f"UPDATE answers SET {damage} WHERE key = ?", [b"bad"])
        connection.close()
        assert list(store.get_many(ANSWERS, [b"bad", b"good"])) == [b"good"]
        assert value_of(store, b"bad") is None
        assert caplog.text.count(f"entry {b'bad'.hex()} of answers is damaged") == 2
        store.put(ANSWERS, b"bad", b"healed")
        assert value_of(store, b"bad") == b"healed"


class TestStats:
    def test_of_empty_tables(self, store: SqliteStore) -> None:
        stats = store.stats()
        assert list(stats) == list(CacheTable)
        assert all((table.count, table.total_bytes, table.oldest) == (0, 0, None) for table in stats.values())

    def test_count_entries_and_the_bytes_of_keys_and_values(self, store: SqliteStore) -> None:
        store.put(ANSWERS, b"12", b"345")
        store.put(ANSWERS, b"6", b"7890")
        stats = store.stats()[ANSWERS]
        assert (stats.count, stats.total_bytes) == (2, 10)
        assert stats.oldest is not None and stats.newest is not None
        first, last = (store.get(ANSWERS, key) for key in (b"12", b"6"))
        assert first and last and (stats.oldest, stats.newest) == (first.created, last.created)


class TestSpace:
    def test_purging_empties_the_tables_named_and_no_other(self, store: SqliteStore) -> None:
        for table in CacheTable:
            store.put_many(table, {b"1": b"x", b"2": b"y"})
        two = Purged(count=2, total_bytes=4)
        assert store.purge([ANSWERS, RETRIEVAL]) == {ANSWERS: two, RETRIEVAL: two}
        assert {table: stats.count for table, stats in store.stats().items()} == {
            ANSWERS: 0,
            RETRIEVAL: 0,
            EMBEDDINGS: 2,
            CacheTable.SESSIONS: 2,
        }
        assert store.purge([ANSWERS]) == {ANSWERS: Purged()}

    def test_vacuuming_returns_what_was_purged(self, store: SqliteStore) -> None:
        fill(store, 100, 10_000)
        before = store.file_bytes()
        store.purge([ANSWERS])
        store.vacuum()
        assert before > 1_000_000
        assert store.file_bytes() < 200_000  # empty pages of every table and index
        assert works(store)

    def test_vacuuming_keeps_what_is_there(self, store: SqliteStore) -> None:
        items = fill(store, 20, 1000)
        assert len(store.get_many(ANSWERS, list(items))) == 20


class TestThreads:
    def test_share_a_store(self, store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
        def work(number: int) -> None:
            for turn in range(25):
                key = b"%d-%d" % (number, turn)
                store.put(ANSWERS, key, key * 100)
                if value_of(store, key) != key * 100:
                    wrong.append(key)
                store.put(EMBEDDINGS, b"shared", key)
                store.get(EMBEDDINGS, b"shared")

        wrong: list[bytes] = []
        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert store.stats()[ANSWERS].count == 12 * 25
        assert not caplog.records

    def test_that_end_leave_no_open_files(self, store: SqliteStore) -> None:
        def open_files() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        store.put(ANSWERS, b"key", b"value")
        before = open_files()
        for _ in range(20):
            thread = threading.Thread(target=value_of, args=(store, b"key"))
            thread.start()
            thread.join()
        assert open_files() < before + 10

    def test_live_through_damage_to_the_file_that_they_share(self, tmp_path: Path) -> None:
        # In a process of its own: what used to happen is that one thread closed a connection another one was in.
        result = run_python(
            """
            import os, sys, threading
            from pathlib import Path
            from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

            store = SqliteStore(Path(sys.argv[1]))
            table = CacheTable.ANSWERS
            done = threading.Event()

            def work(number):
                turn = 0
                while not done.is_set():
                    turn += 1
                    store.put(table, b"%d-%d" % (number, turn), os.urandom(500))
                    store.get_many(table, [b"%d-%d" % (number, n) for n in range(turn)][-50:])

            def meet_the_damage():
                store.put(table, b"after", b"the storm")  # over a connection that is new, like the thread
                store.put(table, b"after", b"the storm")

            threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for _ in range(40):
                with open(os.open(store.path, os.O_RDWR | os.O_CREAT), "wb") as file:
                    file.write(os.urandom(8192))
                thread = threading.Thread(target=meet_the_damage)
                thread.start()
                thread.join()
            done.set()
            for thread in threads:
                thread.join()
            meet_the_damage()
            print(store.get(table, b"after").value)
            """,
            tmp_path / "cache.db",
        )
        assert (result.returncode, result.stdout) == (0, "b'the storm'\n"), result.stderr[-2000:]


class TestProcesses:
    WRITER = """
        import logging, sys
        from pathlib import Path
        from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

        logging.basicConfig(level=logging.DEBUG)
        store, name = SqliteStore(Path(sys.argv[1])), sys.argv[2].encode()
        for turn in range(150):
            key = name + b"-%d" % turn
            store.put(CacheTable.ANSWERS, key, key * 50)
            assert store.get(CacheTable.ANSWERS, key).value == key * 50
            store.put(CacheTable.EMBEDDINGS, b"shared", key)
            assert store.get(CacheTable.EMBEDDINGS, b"shared") is not None
            if turn % 50 == 0:
                store.purge([CacheTable.RETRIEVAL])
        store.vacuum() if name == b"a" else store.stats()
        store.close()
    """

    def test_share_a_file(self, store: SqliteStore) -> None:
        processes = [start_python(self.WRITER, store.path, name) for name in "abcd"]
        for process in processes:
            with process:
                out, err = process.communicate()
            assert (process.returncode, out, err) == (0, "", "")
        assert store.stats()[ANSWERS].count == 4 * 150
        assert value_of(store, b"c-149") == b"c-149" * 50

    def test_that_die_while_they_write_lose_nothing_that_was_written(self, store: SqliteStore) -> None:
        result = run_python(
            """
            import os, sqlite3, sys
            from pathlib import Path
            from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

            store = SqliteStore(Path(sys.argv[1]))
            store.put(CacheTable.ANSWERS, b"done", b"1")
            connection = sqlite3.connect(store.path, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM answers")
            os._exit(9)
            """,
            store.path,
        )
        assert result.returncode == 9
        assert value_of(store, b"done") == b"1"
        assert works(store)

    def test_made_by_fork_open_their_own_connection(self, store: SqliteStore) -> None:
        store.put(ANSWERS, b"parent", b"1")
        child = os.fork()
        if child == 0:
            store.put(ANSWERS, b"child", value_of(store, b"parent") or b"nothing")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert value_of(store, b"child") == b"1"


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(30_000))


def text(path: Path) -> None:
    path.write_text("no database " * 1000)


def first_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 98}")
    connection.close()


def other_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE answers (question TEXT, answer TEXT)")
    connection.close()


class TestDamage:
    @pytest.fixture(autouse=True)
    def small_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets SQLite keep so little in memory that damage to the file is met."""
        monkeypatch.setattr(cache_schema, "_CACHE_KIB", 256)

    @pytest.mark.parametrize("damage", [garbage, text, first_half, other_version, other_tables])
    def test_found_at_the_start_sets_the_file_aside(
        self, store: SqliteStore, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        items = fill(store, 100, 3000)
        store.close()
        damage(store.path)
        inode = store.path.stat().st_ino
        again = SqliteStore(store.path)
        for key in items:
            entry = again.get(ANSWERS, key)
            assert entry is None or entry.value == items[key]
        works(again)
        assert works(again)
        assert "set aside" in caplog.text
        [aside] = set_aside(store)
        assert aside.stat().st_ino == inode
        again.close()

    def test_of_an_empty_file_is_none(self, store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
        store.path.touch()
        assert works(store)
        assert not caplog.records

    @pytest.mark.parametrize("damage", [garbage, first_half])
    def test_done_to_an_open_file_sets_it_aside(
        self, store: SqliteStore, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        items = fill(store, 100, 20_000)
        damage(store.path)
        for _ in range(2):
            for key in items:
                entry = store.get(ANSWERS, key)
                assert entry is None or entry.value == items[key]
        assert works(store)
        assert "set aside" in caplog.text
        assert len(set_aside(store)) == 1

    def test_another_version_of_an_open_file_is_met_by_the_next_connection(
        self, store: SqliteStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.put(ANSWERS, b"key", b"value")
        other_version(store.path)
        thread = threading.Thread(target=works, args=(store,))
        thread.start()
        thread.join()
        assert "set aside" in caplog.text
        assert f"schema version {SCHEMA_VERSION + 98}" in caplog.text
        assert value_of(store, b"key") is None
        assert works(store)
        [aside] = set_aside(store)
        connection = sqlite3.connect(aside)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 98,)
        connection.close()

    def test_that_another_process_dealt_with_does_not_cost_the_new_file(self, store: SqliteStore) -> None:
        fill(store, 100, 20_000)
        slow = SqliteStore(store.path)
        assert slow.stats()[ANSWERS].count == 100
        garbage(store.path)
        while not set_aside(store):
            store.get_many(ANSWERS, [b"key-%d" % number for number in range(100)])
        assert works(store)
        for number in range(100):
            slow.get(ANSWERS, b"key-%d" % number)
        assert value_of(slow, b"after") == b"the storm"
        assert len(set_aside(store)) == 1
        assert value_of(store, b"after") == b"the storm"
        slow.close()

    def test_a_directory_in_its_place_is_no_reason_to_fail(
        self, store: SqliteStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.path.mkdir()
        store.put(ANSWERS, b"key", b"value")
        assert value_of(store, b"key") is None
        assert store.purge([ANSWERS]) == {ANSWERS: Purged()}
        assert store.stats()[ANSWERS].count == 0
        assert "failed" in caplog.text
        assert store.path.is_dir()


class TestShortage:
    def test_of_disk_skips_what_cannot_be_written(self, tmp_path: Path) -> None:
        result = run_python(
            """
            import logging, resource, sys
            from pathlib import Path
            from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

            logging.basicConfig(level=logging.WARNING)
            store, table = SqliteStore(Path(sys.argv[1])), CacheTable.ANSWERS
            store.put(table, b"before", b"1")
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
            store.put(table, b"large", b"2" * 1_000_000)
            assert store.get(table, b"large") is None
            assert store.get(table, b"before").value == b"1"
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            store.put(table, b"large", b"2" * 1_000_000)
            assert store.get(table, b"large").value == b"2" * 1_000_000
            """,
            tmp_path / "cache.db",
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("WARNING") == 1
        assert "writing answers failed" in result.stderr
        assert not set_aside(SqliteStore(tmp_path / "cache.db"))

    def test_of_patience_with_another_process_skips_without_leaking(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(cache_database, "_BUSY_SECONDS", 0.001)
        holder = sqlite3.connect(store.path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        open_files = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            store.put(ANSWERS, b"key", b"value")
        assert len(list(Path("/proc/self/fd").iterdir())) < open_files + 10
        assert "database is locked" in caplog.text
        holder.execute("ROLLBACK")
        holder.close()
        assert works(store)
        assert not set_aside(store)


def test_a_closed_store_misses_and_skips(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(ANSWERS, b"key", b"value")
    store.close()
    assert store.get(ANSWERS, b"key") is None
    store.put(ANSWERS, b"key", b"other")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert not set_aside(store)


COLUMNS = {
    1: "key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, crc INTEGER NOT NULL, created REAL NOT NULL",
    2: "key BLOB NOT NULL UNIQUE, crc INTEGER NOT NULL, created REAL NOT NULL, accessed REAL NOT NULL DEFAULT 0.0, "
    "corpus_id TEXT NOT NULL DEFAULT '', value BLOB NOT NULL",
}


def make_earlier(path: Path, count: int = 50, version: int = 2) -> dict[bytes, bytes]:
    """A file as `version` wrote it, with equal entries in all tables, its log not yet moved to the file."""
    items = {b"key-%d" % number: os.urandom(1000) for number in range(count)}
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN")
    for table in CacheTable:
        connection.execute(f"CREATE TABLE {table} ({COLUMNS[version]})")
        for number, (key, value) in enumerate(items.items()):
            row = [key, value, zlib.crc32(value, zlib.crc32(key) if version == 2 else 0), 1000.0 + number]
            connection.execute(f"INSERT INTO {table} (key, value, crc, created) VALUES (?, ?, ?, ?)", row)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")
    connection.close()
    return items


class TestEarlierVersion:
    @pytest.mark.parametrize("version", COLUMNS)
    def test_keeps_embeddings_and_sessions(
        self, store: SqliteStore, caplog: pytest.LogCaptureFixture, version: int
    ) -> None:
        items = make_earlier(store.path, version=version)
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE embeddings SET crc = 1 WHERE key = ?", [b"key-7"])
        for table in (EMBEDDINGS, CacheTable.SESSIONS):
            found = store.get_many(table, list(items))
            expected = {key: value for key, value in items.items() if table != EMBEDDINGS or key != b"key-7"}
            assert found == expected
        stats = store.stats()
        assert (stats[EMBEDDINGS].count, stats[EMBEDDINGS].counters.puts) == (49, 0)
        assert (stats[EMBEDDINGS].oldest, stats[EMBEDDINGS].newest) == (1000.0, 1049.0)
        assert (stats[ANSWERS].count, stats[RETRIEVAL].count) == (0, 0)
        assert not caplog.records
        assert {path.name for path in store.path.parent.iterdir()} == {
            "cache.db", "cache.db-wal", "cache.db-shm", "cache.db.lock", "cache.db.signal"
        }  # fmt: skip

    def test_that_was_being_converted_when_the_process_died_is_converted_by_the_next(self, store: SqliteStore) -> None:
        items = make_earlier(store.path)
        store.path.rename(store.path.with_name("cache.db.earlier"))
        assert len(store.get_many(EMBEDDINGS, list(items))) == 50
        assert not store.path.with_name("cache.db.earlier").exists()

    def test_that_is_damaged_is_set_aside(self, store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
        items = make_earlier(store.path)
        with store.path.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(150_000))
        assert works(store)
        store.get_many(EMBEDDINGS, list(items))
        assert "cannot be converted" in caplog.text
        assert len(set_aside(store)) == 1

    def test_is_converted_once_by_several_processes(self, store: SqliteStore) -> None:
        make_earlier(store.path, 2000)
        code = """
            import sys
            from pathlib import Path
            from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

            print(SqliteStore(Path(sys.argv[1])).stats()[CacheTable.EMBEDDINGS].count)
        """
        processes = [start_python(code, store.path) for _ in range(4)]
        for process in processes:
            with process:
                assert process.communicate() == ("2000\n", "")


def test_damaged_files_are_kept_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    for _ in range(MAX_SET_ASIDE + 2):
        path.write_bytes(os.urandom(30_000))
        last = path.read_bytes()
        store = SqliteStore(path)
        assert works(store)
        store.close()
    kept = set_aside(store)
    assert len(kept) == MAX_SET_ASIDE
    assert kept[-1].read_bytes() == last
    assert len(list(tmp_path.iterdir())) == MAX_SET_ASIDE + 3  # with the database, its lock and its signal
