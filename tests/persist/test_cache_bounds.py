"""What keeps the cache within its bounds, and what it tells of itself."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_papers.persist import cache_usage, sqlite_store
from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.sqlite_store import CacheTable, Counters, Purged, SqliteStore, TableStats

ANSWERS, EMBEDDINGS, RETRIEVAL, SESSIONS = (
    CacheTable.ANSWERS,
    CacheTable.EMBEDDINGS,
    CacheTable.RETRIEVAL,
    CacheTable.SESSIONS,
)

Open = Callable[..., SqliteStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens a store on one file, with limits of the table of answers."""
    with contextlib.ExitStack() as stack:

        def opened(memory_bytes: int = 0, **limits: float) -> SqliteStore:
            tables = {ANSWERS: TableLimits(**limits)}  # type: ignore[arg-type]
            store = SqliteStore(tmp_path / "cache.db", CacheLimits(tables=tables, memory_bytes=memory_bytes))
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    clock = Clock()
    monkeypatch.setattr(sqlite_store.time, "time", clock)
    return clock


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def key(number: int) -> bytes:
    return b"%04d" % number


def present(store: SqliteStore, count: int, table: CacheTable = ANSWERS) -> list[int]:
    return [number for number in range(count) if store.get(table, key(number))]


def of(store: SqliteStore, table: CacheTable = ANSWERS) -> TableStats:
    return store.stats()[table]


def true_size(store: SqliteStore, table: CacheTable = ANSWERS) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        query = f"SELECT count(*), coalesce(sum(length(key) + length(value)), 0) FROM {table}"
        count, size = connection.execute(query).fetchone()
    return count, size


class TestUsedLast:
    def test_is_what_was_read_after_it_was_written(self, open_store: Open, clock: Clock) -> None:
        store = open_store(ttl_seconds=1000)
        begin = clock.now
        for number in range(40):
            store.put(ANSWERS, key(number), b"%d" % number, corpus_id="ab"[number % 2])
        for number in (7, 30, 8, 7, *range(10, 29)):
            clock.now += 1
            assert store.get(ANSWERS, key(number))
        expected = [b"%d" % number for number in (*range(28, 9, -1), 7, 8, 30)]
        before = of(store).counters
        assert list(store.used_last(ANSWERS, None, begin)) == expected
        assert list(store.used_last(ANSWERS, ["a"], begin)) == [value for value in expected if int(value) % 2 == 0]
        assert list(store.used_last(ANSWERS, ["c"], begin)) == list(store.used_last(ANSWERS, [], begin)) == []
        assert list(store.used_last(ANSWERS, None, clock.now)) == [b"28"]
        assert of(store).counters == before
        clock.now = begin + 1001
        assert list(store.used_last(ANSWERS, None, begin)) == []


class TestSize:
    def test_is_kept_exactly_whatever_is_done(self, open_store: Open) -> None:
        store = open_store(max_bytes=8_000)
        for turn in range(300):
            store.put_many(ANSWERS, {key(turn % 37): b"x" * (turn % 211), key(turn): b"y" * (turn * 7 % 400)})
            if turn % 50 == 0:
                store.purge([ANSWERS], before=time.time() - 0.001)
            stats = of(store)
            assert (stats.count, stats.total_bytes) == true_size(store)
            assert stats.total_bytes <= 8_000
        assert stats.counters.evictions > 0

    def test_never_exceeds_the_limit(self, open_store: Open) -> None:
        store = open_store(max_bytes=50_000)
        for number in range(200):
            store.put(ANSWERS, key(number), bytes(996))
            assert true_size(store)[1] <= 50_000
        stats = of(store)
        assert stats.total_bytes > 40_000
        assert stats.counters.evictions == 200 - stats.count
        assert present(store, 200) == list(range(200 - stats.count, 200))

    def test_is_reduced_by_a_batch_at_once(self, open_store: Open) -> None:
        store = open_store(max_bytes=160_000)
        sizes = []
        for number in range(400):
            store.put(ANSWERS, key(number), bytes(996))
            sizes.append(true_size(store)[1])
        drops = [before - after for before, after in itertools.pairwise(sizes) if after < before]
        assert drops
        assert all(9_000 <= drop <= 11_000 for drop in drops)

    def test_of_other_tables_is_not_bounded(self, open_store: Open) -> None:
        store = open_store(max_bytes=1000)
        store.put_many(EMBEDDINGS, {key(number): bytes(1000) for number in range(100)})
        assert of(store, EMBEDDINGS).count == 100

    def test_that_is_too_large_for_the_table_is_not_stored(self, open_store: Open) -> None:
        store = open_store(max_bytes=10_000)
        store.put_many(ANSWERS, {key(1): bytes(100), key(2): bytes(9000)})
        assert present(store, 5) == [1]

    def test_of_nothing_stores_nothing(self, open_store: Open) -> None:
        store = open_store(max_bytes=0)
        store.put(ANSWERS, b"key", b"value")
        assert of(store).count == 0

    def test_that_was_lowered_is_reached_by_the_next_put(self, open_store: Open) -> None:
        open_store().put_many(ANSWERS, {key(number): bytes(996) for number in range(100)})
        lower = open_store(max_bytes=30_000)
        lower.put(ANSWERS, key(100), bytes(996))
        assert of(lower).total_bytes <= 30_000
        assert 100 in present(lower, 101)

    def test_that_damage_made_wrong_is_counted_anew(self, open_store: Open) -> None:
        store = open_store(max_bytes=30_000)
        store.put(ANSWERS, key(1), bytes(996))
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE tables SET bytes = 1000000, count = 7")
        store.put(ANSWERS, key(2), bytes(996))
        store.put(ANSWERS, key(3), bytes(996))
        stats = of(store)
        assert (stats.count, stats.total_bytes) == true_size(store) == (1, 1000)


class TestEviction:
    def test_takes_what_was_read_least_recently(self, open_store: Open, clock: Clock) -> None:
        store = open_store(max_bytes=50_000)
        for number in range(50):
            clock.now += 1
            store.put(ANSWERS, key(number), bytes(996))
        clock.now += 1
        hot = list(range(0, 20, 3))
        assert present(store, 20)  # all are read
        clock.now += 1
        for number in hot:
            store.get(ANSWERS, key(number))
        clock.now += 1
        for number in range(20, 50):
            store.get(ANSWERS, key(number))
        clock.now += 1
        for number in range(50, 60):
            store.put(ANSWERS, key(number), bytes(996))
        left = present(store, 60)
        assert set(hot) <= set(left)
        assert set(range(20, 60)) <= set(left)
        assert len(left) < 60

    def test_knows_what_another_process_read(self, open_store: Open, clock: Clock) -> None:
        one, other = open_store(max_bytes=50_000), open_store(max_bytes=50_000)
        for number in range(50):
            clock.now += 1
            one.put(ANSWERS, key(number), bytes(996))
        clock.now += 1
        assert other.get(ANSWERS, key(0))
        other.stats()  # saves what it knows
        for number in range(50, 60):
            clock.now += 1
            one.put(ANSWERS, key(number), bytes(996))
        left = present(one, 60)
        assert 0 in left
        assert 1 not in left

    def test_counts_a_read_from_memory_as_an_access(self, open_store: Open, clock: Clock) -> None:
        store = open_store(max_bytes=50_000, memory_bytes=1_000_000)
        for number in range(50):
            clock.now += 1
            store.put(ANSWERS, key(number), bytes(996))
        clock.now += 1
        assert store.get(ANSWERS, key(0))
        for number in range(50, 60):
            clock.now += 1
            store.put(ANSWERS, key(number), bytes(996))
        left = present(store, 60)
        assert 0 in left
        assert 1 not in left

    def test_finds_what_damage_has_taken_the_place_of(self, open_store: Open) -> None:
        store = open_store(max_bytes=50_000)
        for number in range(40):
            store.put(ANSWERS, key(number), bytes(996))
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("DELETE FROM answers_places")
        assert present(store, 40) == []
        for number in range(40, 60):
            store.put(ANSWERS, key(number), bytes(996))
        stats = of(store)
        assert (stats.count, stats.total_bytes) == true_size(store)
        assert stats.total_bytes <= 50_000
        assert 59 in present(store, 60)


class TestAge:
    def test_makes_an_entry_a_miss(self, open_store: Open, clock: Clock) -> None:
        for memory in (0, 10_000):
            store = open_store(memory_bytes=memory, ttl_seconds=60.0)
            store.put(ANSWERS, b"key", b"value")
            clock.now += 59
            assert store.get(ANSWERS, b"key")
            clock.now += 1
            assert store.get(ANSWERS, b"key") is None
            store.put(ANSWERS, b"key", b"anew")
            entry = store.get(ANSWERS, b"key")
            assert entry and entry.value == b"anew"

    def test_deletes_entries_and_counts_them(self, open_store: Open, clock: Clock) -> None:
        store = open_store(ttl_seconds=60.0)
        store.put_many(ANSWERS, {key(number): b"old" for number in range(10)})
        store.put(EMBEDDINGS, b"key", b"for ever")
        clock.now += 30
        store.put(ANSWERS, key(10), b"younger")
        clock.now += 30
        store.put(ANSWERS, key(3), b"again")
        stats = of(store)
        assert (stats.count, stats.counters.expired, stats.counters.evictions) == (2, 9, 0)
        assert (stats.count, stats.total_bytes) == true_size(store)
        clock.now += 30
        assert of(store).counters.expired == 10
        clock.now += 1e9
        assert of(store, EMBEDDINGS).count == 1

    def test_of_a_clock_that_was_set_back_is_none(self, open_store: Open, clock: Clock) -> None:
        store = open_store(ttl_seconds=60.0)
        store.put(ANSWERS, b"key", b"value")
        clock.now -= 1000
        assert store.get(ANSWERS, b"key")


class TestCounters:
    def test_are_exact(self, open_store: Open) -> None:
        store = open_store()
        store.put_many(ANSWERS, {key(number): b"x" for number in range(5)})
        store.put(ANSWERS, key(0), b"y")
        store.get_many(ANSWERS, [key(number) for number in range(8)])
        store.get(ANSWERS, b"missing")
        expected = Counters(hits=5, misses=4, puts=6)
        assert of(store).counters == of(store).process == expected
        assert of(store, EMBEDDINGS).counters == Counters()

    def test_are_summed_over_processes_and_restarts(self, open_store: Open) -> None:
        one, other = open_store(), open_store()
        one.put(ANSWERS, b"key", b"value")
        for store in (one, other, other):
            store.get(ANSWERS, b"key")
        other.get(ANSWERS, b"missing")
        one.close()
        stats = of(other)
        assert stats.counters == Counters(hits=3, misses=1, puts=1)
        assert stats.process == Counters(hits=2, misses=1)
        other.close()
        assert of(open_store()).counters == Counters(hits=3, misses=1, puts=1)

    def test_are_saved_without_being_asked_for(self, open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_usage, "SAVE_SECONDS", 0.01)
        store, other = open_store(), open_store()
        store.put(ANSWERS, b"key", b"value")
        store.get(ANSWERS, b"key")
        deadline = time.monotonic() + 30
        while of(other).counters.hits == 0:
            assert time.monotonic() < deadline
        assert of(other).oldest_access is not None

    def test_a_damaged_entry_is_a_miss(self, open_store: Open) -> None:
        store = open_store()
        store.put(ANSWERS, b"key", b"value")
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE answers SET checksum = x''")
        store.get(ANSWERS, b"key")
        assert of(store).counters == Counters(misses=1, puts=1)


class TestPurge:
    @pytest.fixture
    def store(self, open_store: Open, clock: Clock) -> SqliteStore:
        store = open_store()
        for number in range(4):
            store.put_many(ANSWERS, {b"a%d" % number: b"1", b"b%d" % number: b"22"}, corpus_id="ab"[number % 2])
            store.put_many(RETRIEVAL, {b"r%d" % number: b"333"}, corpus_id="ab"[number % 2])
            store.put_many(EMBEDDINGS, {b"e%d" % number: b"4444"})
            clock.now += 10
        return store

    def test_of_a_version_takes_its_entries_alone(self, store: SqliteStore) -> None:
        assert store.purge(CacheTable, corpus_ids=["a"]) == {
            EMBEDDINGS: Purged(),
            RETRIEVAL: Purged(count=2, total_bytes=10),
            ANSWERS: Purged(count=4, total_bytes=14),
            SESSIONS: Purged(),
        }
        assert store.get(ANSWERS, b"a0") is None
        assert store.get(ANSWERS, b"a1") is not None
        assert store.purge(CacheTable, corpus_ids=["none", "of"])[ANSWERS] == Purged()
        assert store.purge([ANSWERS], corpus_ids=[]) == {ANSWERS: Purged()}
        assert store.purge([ANSWERS], corpus_ids=["b", "a"]) == {ANSWERS: Purged(count=4, total_bytes=14)}

    def test_by_age_takes_what_is_older(self, store: SqliteStore, clock: Clock) -> None:
        assert store.purge([ANSWERS, EMBEDDINGS], before=clock.now - 25) == {
            ANSWERS: Purged(count=4, total_bytes=14),
            EMBEDDINGS: Purged(count=2, total_bytes=12),
        }
        assert store.get(EMBEDDINGS, b"e1") is None
        assert store.get(EMBEDDINGS, b"e2") is not None
        assert store.purge([ANSWERS], before=clock.now - 15, corpus_ids=["b"])[ANSWERS].count == 0
        assert store.purge([ANSWERS], before=clock.now - 15, corpus_ids=["a"])[ANSWERS].count == 2

    def test_that_is_a_dry_run_deletes_nothing(self, store: SqliteStore) -> None:
        before = store.stats()
        tried = store.purge(CacheTable, dry_run=True)
        assert store.stats() == before
        assert store.purge(CacheTable) == tried
        assert all(stats.count == stats.total_bytes == 0 for stats in store.stats().values())

    def test_takes_thousands(self, open_store: Open) -> None:
        store = open_store()
        store.put_many(EMBEDDINGS, {key(number): b"x" for number in range(3210)})
        assert store.purge([EMBEDDINGS]) == {EMBEDDINGS: Purged(count=3210, total_bytes=3210 * 5)}
        assert true_size(store, EMBEDDINGS) == (0, 0)


class TestMemory:
    def test_answers_without_the_file(self, open_store: Open) -> None:
        store = open_store(memory_bytes=100_000)
        store.put(ANSWERS, b"put", b"value")
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE answers SET checksum = x''")  # the row could not be read any more
        entry = store.get(ANSWERS, b"put")
        assert entry and entry.value == b"value"
        assert open_store().get(ANSWERS, b"put") is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda other: other.purge([ANSWERS]),
            lambda other: other.purge([ANSWERS], corpus_ids=["version"]),
            lambda other: other.put(ANSWERS, b"key", b"new"),
        ],
        ids=["purge", "purge by corpus", "refresh"],
    )
    @pytest.mark.parametrize("filled_by", ["put", "get"])
    def test_sees_at_once_what_another_process_does(
        self, open_store: Open, change: Callable[[SqliteStore], None], filled_by: str
    ) -> None:
        store, other = open_store(memory_bytes=100_000), open_store(memory_bytes=100_000)
        (store if filled_by == "put" else other).put(ANSWERS, b"key", b"old", "version")
        for _ in range(2):
            entry = store.get(ANSWERS, b"key")
            assert entry and entry.value == b"old"
        change(other)
        entry = store.get(ANSWERS, b"key")
        assert entry is None or entry.value == b"new"
        assert (entry and entry.value) == ((found := other.get(ANSWERS, b"key")) and found.value)

    def test_sees_soon_that_somebody_has_deleted_the_file(self, open_store: Open, clock: Clock) -> None:
        store = open_store(memory_bytes=100_000)
        store.put(ANSWERS, b"key", b"old")
        assert store.get(ANSWERS, b"key") and store.get(ANSWERS, b"key")
        store.path.unlink()
        clock.now += 0.11
        assert store.get(ANSWERS, b"key") is None

    def test_keeps_what_others_write_beside_it(self, open_store: Open) -> None:
        store, other = open_store(memory_bytes=100_000), open_store()
        store.put(ANSWERS, b"key", b"value")
        other.put(ANSWERS, b"other", b"value")
        other.purge([EMBEDDINGS])
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE answers SET checksum = x''")
        assert store.get(ANSWERS, b"key")

    def test_is_bounded(self, open_store: Open) -> None:
        store = open_store(memory_bytes=20_000)
        for number in range(100):
            store.put(ANSWERS, key(number), bytes(1000))
            assert store._memory.size_bytes <= 20_000
        store.put(ANSWERS, b"large", bytes(30_000))
        assert store._memory.size_bytes > 15_000
        assert store.get(ANSWERS, b"large")
