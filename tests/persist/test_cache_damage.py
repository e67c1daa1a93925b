"""A cache database that is damaged, while it is open and while it is not: never a wrong value, never a failure."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

from .processes import run_python, start_python

TABLES = (CacheTable.ANSWERS, CacheTable.EMBEDDINGS)
LIMITS = CacheLimits(tables={CacheTable.ANSWERS: TableLimits(max_bytes=200_000, ttl_seconds=1e6)}, memory_bytes=10_000)


def value_of(key: bytes) -> bytes:
    """What belongs under a key; long ones take more than a page."""
    return random.Random(key).randbytes(10_000 if key.endswith(b"7") else 500)


ITEMS = {b"key-%d" % number: value_of(b"key-%d" % number) for number in range(60)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "cache.db", LIMITS)
    for table in TABLES:
        store.put_many(table, ITEMS, corpus_id="version")
    yield store
    store.close()


def use(store: SqliteStore) -> None:
    """Everything that a store can do; what it finds is right."""
    for table in TABLES:
        for key, value in store.get_many(table, list(ITEMS)).items():
            assert value == ITEMS[key]
        store.put(table, b"key-7", ITEMS[b"key-7"])
        store.put_many(table, {b"key-%d" % number: value_of(b"key-%d" % number) for number in range(60, 90)})
    store.stats()
    store.purge([CacheTable.ANSWERS], corpus_ids=["version"], before=1e12)
    store.vacuum()


def works(store: SqliteStore) -> bool:
    store.put(CacheTable.ANSWERS, b"after", b"the storm")
    entry = store.get(CacheTable.ANSWERS, b"after")
    return entry is not None and entry.value == b"the storm"


@pytest.mark.parametrize("seed", [*range(15), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(15, 60))])
def test_bytes_changed_between_two_runs(store: SqliteStore, seed: int) -> None:
    store.vacuum()  # all is in the file
    store.close()
    chance = random.Random(seed)
    data = bytearray(store.path.read_bytes())
    for _ in range(chance.choice([1, 1, 5, 100])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    store.path.write_bytes(data)
    again = SqliteStore(store.path, LIMITS)
    use(again)
    again.close()
    last = SqliteStore(store.path, LIMITS)
    assert works(last)
    last.close()


def garbage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def some_bytes(path: Path) -> None:
    with path.open("r+b") as file:
        for position in range(50, path.stat().st_size, 3000):
            file.seek(position)
            file.write(b"\xa5")


DAMAGE = [garbage, emptied, cut, some_bytes]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal"])
def test_done_while_the_file_is_open(store: SqliteStore, name: str, damage: Callable[[Path], None]) -> None:
    damage(store.path.with_name(name))
    other = SqliteStore(store.path, LIMITS)
    for _ in range(2):
        use(store)
        use(other)
    assert works(store)
    assert works(other)
    other.close()


@pytest.mark.parametrize("damage", DAMAGE)
def test_done_to_the_log_of_a_process_that_died(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from tests.persist.test_cache_damage import ITEMS, TABLES, SqliteStore

        store = SqliteStore(Path(sys.argv[1]))
        for table in TABLES:
            for key, value in ITEMS.items():
                store.put(table, key, value)
        os._exit(9)
    """
    path = tmp_path / "cache.db"
    assert run_python(code, path).returncode == 9
    damage(path.with_name("cache.db-wal"))
    store = SqliteStore(path, LIMITS)
    use(store)
    assert works(store)
    store.close()


def test_a_file_that_is_deleted_is_made_anew_by_all_at_once(store: SqliteStore) -> None:
    other = SqliteStore(store.path, LIMITS)
    assert works(other)
    for path in list(store.path.parent.iterdir()):
        path.unlink()
    assert store.get(CacheTable.ANSWERS, b"key-1") is None
    store.put(CacheTable.ANSWERS, b"key-1", b"new")
    entry = other.get(CacheTable.ANSWERS, b"key-1")
    assert entry and entry.value == b"new"
    other.close()


WRITER = """
    import logging, random, sys, time
    from pathlib import Path
    from rag_papers.persist.cache_limits import CacheLimits, TableLimits
    from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

    logging.basicConfig(level=logging.WARNING)
    path, seed, turns = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    limit = 300_000
    tables = dict.fromkeys([CacheTable.ANSWERS, CacheTable.EMBEDDINGS], TableLimits(max_bytes=limit, ttl_seconds=0.3))
    store = SqliteStore(path, CacheLimits(tables=tables, memory_bytes=50_000))
    chance = random.Random(seed)

    def value_of(key):
        return random.Random(key).randbytes(2000)

    for turn in range(turns):
        table = chance.choice(list(tables))
        keys = [b"%d" % chance.randrange(500) for _ in range(chance.choice([1, 1, 20]))]
        for key, value in store.get_many(table, keys).items():
            assert value == value_of(key)
        store.put_many(table, {key: value_of(key) for key in keys}, chance.choice(["", "a", "b"]))
        match chance.randrange(60):
            case 0:
                store.purge([table], corpus_ids=["a"])
            case 1:
                store.purge([table], before=time.time() - 0.2)
            case 2:
                store.vacuum()
            case 3:
                assert all(store.stats()[name].total_bytes <= limit for name in tables)
    store.close()
"""


@pytest.mark.parametrize("turns", [250, pytest.param(8000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_processes_on_one_file_stay_within_its_bounds_and_wait_for_each_other(tmp_path: Path, turns: int) -> None:
    path = tmp_path / "cache.db"
    processes = [start_python(WRITER, path, seed, turns) for seed in range(3)]
    for process in processes:
        with process:
            assert process.communicate() == ("", "")
        assert process.returncode == 0
    store = SqliteStore(path)
    stats = store.stats()
    for table in TABLES:
        everything = store.purge([table])[table]
        assert (everything.count, everything.total_bytes) == (stats[table].count, stats[table].total_bytes)
    assert all(stats[table].counters.evictions > 0 for table in TABLES)
    assert all(stats[table].counters.hits > 0 for table in TABLES)
    store.close()
    assert not list(tmp_path.glob("*.damaged-*"))
