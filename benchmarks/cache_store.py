"""The cache store against diskcache, and what its own choices are worth.

    python benchmarks/cache_store.py [ENTRIES] [--choices] [--vacuum]

Entries have keys of 32 bytes and values of 1536, as embeddings of 384 dimensions have. Both sides keep all on disk,
ours with nothing in memory; diskcache has its usual settings, which like ours leave it to checkpoints to sync (WAL,
synchronous NORMAL), and is asked key by key, as it has nothing else. What is read is kept in a dictionary by each side.
The sides take turns in an order that is shuffled in every round; times are means where writing is part of the work,
since a median hides checkpoints, else medians. Needs diskcache, but not for --choices and --vacuum.
"""

import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rag_papers.persist import cache_schema
from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

TABLE = CacheTable.ANSWERS  # every access is noted, as diskcache does it
LIMITS = CacheLimits(tables={TABLE: TableLimits(max_bytes=1 << 30)})
VALUE_BYTES, ROUNDS, KEYS, PUTS = 1536, 25, 1000, 500

Prepare = Callable[[sqlite3.Connection], object]

chance = random.Random(7)


def keys(count: int) -> list[bytes]:
    return [chance.randbytes(32) for _ in range(count)]


def value() -> bytes:
    return chance.randbytes(VALUE_BYTES)


@contextmanager
def filled_store(known: list[bytes], prepare: Prepare | None = None) -> Iterator[SqliteStore]:
    directory = Path(tempfile.mkdtemp())
    store = SqliteStore(directory / "cache.db", LIMITS)
    if prepare:
        prepare(store._database._connection())
    for start in range(0, len(known), 256):
        store.put_many(TABLE, {key: value() for key in known[start : start + 256]})
    yield store
    store.close()
    shutil.rmtree(directory)


def timed(work: Callable[[], object], count: int = 1) -> float:
    """Microseconds for each of `count`."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / count * 1e6


def in_turns(sides: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    for side in sides.values():
        side()  # warm
    times = defaultdict(list)
    for _ in range(rounds):
        order = list(sides)
        chance.shuffle(order)
        for name in order:
            times[name].append(sides[name]())
    return times


def show(title: str, times: dict[str, list[float]], average: Callable[[list[float]], float]) -> None:
    print(title)
    ours = average(times["ours"])
    for name, measured in times.items():
        print(f"  {name:<28} {average(measured):9.1f} us  {average(measured) / ours:6.2f} x ours")


@contextmanager
def filled_diskcaches(known: list[bytes]) -> Iterator[tuple[Any, Any]]:
    """One that evicts what was stored first, as by default, and one that evicts what was used least recently."""
    import diskcache

    with tempfile.TemporaryDirectory() as directory:
        plain = diskcache.Cache(f"{directory}/plain", size_limit=1 << 30)
        lru = diskcache.Cache(f"{directory}/lru", size_limit=1 << 30, eviction_policy="least-recently-used")
        for cache in (plain, lru):
            with cache.transact():
                for key in known:
                    cache[key] = value()
        yield plain, lru
        plain.close()
        lru.close()


def single(get: Callable[[bytes], object], chosen: list[bytes]) -> object:
    return {key: get(key) for key in chosen}


def puts(put: Callable[[bytes, bytes], object]) -> float:
    items = [(key, value()) for key in keys(PUTS)]
    return timed(lambda: [put(*item) for item in items], PUTS)


def compare_reads(store: SqliteStore, plain: Any, lru: Any, known: list[bytes]) -> None:
    def reading(work: Callable[[list[bytes]], object], count: int = 1) -> float:
        chosen = chance.sample(known, KEYS)
        return timed(lambda: work(chosen), count)

    def ours_get(key: bytes) -> object:
        return store.get(TABLE, key)

    def with_saving(chosen: list[bytes]) -> None:
        single(ours_get, chosen)
        store._upkeep()  # what a thread does some seconds later, here with every 1,000 gets

    show(
        f"multi-get of {KEYS} keys, median",
        in_turns(
            {
                "ours": lambda: reading(lambda chosen: store.get_many(TABLE, chosen)),
                "ours, key by key": lambda: reading(lambda chosen: single(ours_get, chosen)),
                "diskcache, key by key": lambda: reading(lambda chosen: single(plain.get, chosen)),
            }
        ),
        statistics.median,
    )
    show(
        "get with LRU bookkeeping, mean",
        in_turns(
            {
                "ours": lambda: reading(with_saving, KEYS),
                "diskcache": lambda: reading(lambda chosen: single(lru.get, chosen), KEYS),
            }
        ),
        statistics.mean,
    )


def compare_puts(store: SqliteStore, plain: Any, lru: Any) -> None:
    sides = {
        "ours": lambda: puts(lambda key, content: store.put(TABLE, key, content)),
        "diskcache": lambda: puts(plain.set),
        "diskcache, LRU": lambda: puts(lru.set),
    }
    show("put, one per transaction, mean", in_turns(sides), statistics.mean)


def against_diskcache(count: int) -> None:
    # As in a process that has had an array of numbers: else malloc gives back to the system, and takes again, what each
    # read of 1,000 entries needs.
    bytearray(8 << 20)
    known = keys(count)
    with filled_store(known) as store, filled_diskcaches(known) as (plain, lru):
        compare_reads(store, plain, lru, known)
        compare_puts(store, plain, lru)


def choices(count: int) -> None:
    """The same store with one choice made differently."""

    def pragma(text: str) -> Prepare:
        return lambda connection: connection.execute(f"PRAGMA {text}").fetchall()

    variants: dict[str, tuple[int, Prepare | None]] = {
        "ours": (4096, None),
        "pages of 8192 bytes": (8192, None),
        "pages of 16384 bytes": (16384, None),
        "mapped, 256 MiB": (4096, pragma("mmap_size = 268435456")),
        "synchronous = FULL": (4096, pragma("synchronous = FULL")),
        "synchronous = OFF": (4096, pragma("synchronous = OFF")),
        "SQLite's cache 8 MiB": (4096, pragma("cache_size = -8192")),
        "no log (journal_mode DELETE)": (4096, pragma("journal_mode = DELETE")),
        "log of 4 MB": (4096, pragma("wal_autocheckpoint = 1000")),
    }
    known = keys(count)
    opened = {}
    stores = {}
    for name, (page, prepare) in variants.items():
        cache_schema._PAGE_BYTES = page
        opened[name] = filled_store(known, prepare)
        stores[name] = opened[name].__enter__()

    def multi(store: SqliteStore) -> float:
        chosen = chance.sample(known, KEYS)
        return timed(lambda: store.get_many(TABLE, chosen))

    def single(store: SqliteStore) -> float:
        chosen = chance.sample(known, KEYS)
        return timed(lambda: [store.get(TABLE, key) for key in chosen], KEYS)

    def put(store: SqliteStore) -> float:
        return puts(lambda key, content: store.put(TABLE, key, content))

    for title, work, average in (
        (f"multi-get of {KEYS} keys, median", multi, statistics.median),
        ("get, median", single, statistics.median),
        ("put, one per transaction, mean", put, statistics.mean),
    ):
        sides = {name: partial(work, store) for name, store in stores.items()}
        show(title, in_turns(sides), average)
    print("size on disk")
    for name, store in stores.items():
        print(f"  {name:<28} {store.file_bytes() / 1e6:9.1f} MB")
        opened[name].__exit__(None, None, None)


def vacuum(count: int) -> None:
    """How long a put waits while the space of half of the entries is returned."""

    def whole(store: SqliteStore) -> None:
        store._database._connection().execute("VACUUM")

    for name, work in (("in steps", SqliteStore.vacuum), ("VACUUM", whole)):
        known = keys(count)
        with filled_store(known) as store:
            store.purge([TABLE])
            store.put_many(TABLE, {key: value() for key in known[: count // 2]})
            waits: list[float] = []
            done = threading.Event()

            def write(store: SqliteStore = store, waits: list[float] = waits, done: threading.Event = done) -> None:
                while not done.is_set():
                    waits.append(timed(lambda: store.put(TABLE, b"key", b"value")))

            thread = threading.Thread(target=write)
            thread.start()
            before = store.file_bytes()
            took = timed(lambda work=work, store=store: work(store))
            done.set()
            thread.join()
            print(
                f"{name}: {before / 1e6:.0f} to {store.file_bytes() / 1e6:.0f} MB in {took / 1e6:.2f} s; "
                f"the longest of {len(waits)} puts waited {max(waits) / 1e3:.0f} ms"
            )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    size = numbers[0] if numbers else 50_000
    if "--choices" in sys.argv:
        choices(size)
    elif "--vacuum" in sys.argv:
        vacuum(size)
    else:
        against_diskcache(size)
