"""Layouts of a cache table in SQLite: where the entries lie, and where it is noted when they were used.

    python benchmarks/cache_layout.py [ENTRIES]

The layouts that were tried for rag_papers/persist/cache_schema.py, in plain statements over one connection each, in an
order that is shuffled in every round: a put in a transaction of its own, a get of 1,000 keys, and noting the use of
1,000 entries in one transaction. Keys of 32 bytes, values of 1536.
"""

import random
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

VALUE_BYTES, KEYS, PUTS, ROUNDS = 1536, 1000, 300, 9

chance = random.Random(3)

Item = tuple[bytes, bytes]


def id_of(key: bytes) -> int:
    return int.from_bytes(key[:8]) >> 1


class Places:
    """Entries in the order of writing; where each is, and when it was used, in a small table by the hash of its key."""

    tables: tuple[str, ...] = (
        "CREATE TABLE entries (row INTEGER PRIMARY KEY, key BLOB, created REAL, value BLOB)",
        "CREATE TABLE places (id INTEGER PRIMARY KEY, row INTEGER, accessed REAL)",
    )

    def put(self, connection: sqlite3.Connection, key: bytes, value: bytes, now: float) -> None:
        """Writes an entry."""
        cursor = connection.execute("INSERT INTO entries (key, created, value) VALUES (?, ?, ?)", (key, now, value))
        connection.execute("INSERT INTO places VALUES (?, ?, ?)", (id_of(key), cursor.lastrowid, now))

    def get(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[Item]:
        """The entries under `keys`."""
        where = f"WHERE id IN ({','.join('?' * len(keys))})"
        statement = f"SELECT key, value, created FROM places CROSS JOIN entries USING (row) {where}"
        return connection.execute(statement, [id_of(key) for key in keys]).fetchall()

    def use(self, connection: sqlite3.Connection, keys: Sequence[bytes], now: float) -> None:
        """Notes that entries were used."""
        ids = sorted(id_of(key) for key in keys)
        connection.executemany("UPDATE places SET accessed = ? WHERE id = ?", [(now, key) for key in ids])


class PlacesByUse(Places):
    """The same with an index that has the places in the order of use, so that none is looked for."""

    tables = (*Places.tables, "CREATE INDEX places_by_use ON places (accessed)")


class Hashed(Places):
    """Entries in the order of the hashes of their keys, one look-up for each."""

    tables = (
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB, created REAL, value BLOB)",
        "CREATE TABLE places (id INTEGER PRIMARY KEY, accessed REAL)",
    )

    def put(self, connection: sqlite3.Connection, key: bytes, value: bytes, now: float) -> None:
        """See Places."""
        connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (id_of(key), key, now, value))
        connection.execute("INSERT INTO places VALUES (?, ?)", (id_of(key), now))

    def get(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[Item]:
        """See Places."""
        statement = f"SELECT key, value, created FROM entries WHERE id IN ({','.join('?' * len(keys))})"
        return connection.execute(statement, [id_of(key) for key in keys]).fetchall()


class Indexed:
    """One table with an index of keys and one of uses."""

    tables: tuple[str, ...] = (
        "CREATE TABLE entries (key BLOB UNIQUE, created REAL, accessed REAL, value BLOB)",
        "CREATE INDEX entries_by_use ON entries (accessed)",
    )

    def put(self, connection: sqlite3.Connection, key: bytes, value: bytes, now: float) -> None:
        """See Places."""
        connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, now, now, value))

    def get(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[Item]:
        """See Places."""
        statement = f"SELECT key, value, created FROM entries WHERE key IN ({','.join('?' * len(keys))})"
        return connection.execute(statement, keys).fetchall()

    def use(self, connection: sqlite3.Connection, keys: Sequence[bytes], now: float) -> None:
        """See Places."""
        connection.executemany("UPDATE entries SET accessed = ? WHERE key = ?", [(now, key) for key in keys])


class WithoutRowid(Indexed):
    """The same without row ids: the entries lie in the index of their keys."""

    tables = (
        "CREATE TABLE entries (key BLOB PRIMARY KEY, created REAL, accessed REAL, value BLOB) WITHOUT ROWID",
        "CREATE INDEX entries_by_use ON entries (accessed)",
    )


LAYOUTS = (Places(), PlacesByUse(), Hashed(), Indexed(), WithoutRowid())


def opened(layout: Places | Indexed, path: Path, keys: Sequence[bytes]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size = 4096", "auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("PRAGMA cache_size = -24576")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    for statement in layout.tables:
        connection.execute(statement)
    within(connection, lambda: [layout.put(connection, *item(key)) for key in keys])
    return connection


def name_of(layout: Places | Indexed) -> str:
    return type(layout).__name__


def item(key: bytes) -> tuple[bytes, bytes, float]:
    return key, chance.randbytes(VALUE_BYTES), time.time()


def within(connection: sqlite3.Connection, work: Callable[[], object]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    work()
    connection.execute("COMMIT")


def times(layout: Places | Indexed, connection: sqlite3.Connection, known: Sequence[bytes]) -> dict[str, float]:
    """Seconds that each kind of work takes."""
    items = [item(chance.randbytes(32)) for _ in range(PUTS)]
    chosen = chance.sample(known, KEYS)

    def put_each() -> None:
        for each in items:
            within(connection, lambda each=each: layout.put(connection, *each))

    works: dict[str, Callable[[], object]] = {
        "put": put_each,
        "get": lambda: layout.get(connection, chosen),
        "use": lambda: within(connection, lambda: layout.use(connection, chosen, time.time())),
    }
    taken = {}
    for what, work in works.items():
        start = time.perf_counter()
        work()
        taken[what] = time.perf_counter() - start
    return taken


def measure(count: int, directory: Path) -> None:
    known = [chance.randbytes(32) for _ in range(count)]
    connections = {layout: opened(layout, directory / name_of(layout), known) for layout in LAYOUTS}
    taken: dict[Places | Indexed, list[dict[str, float]]] = defaultdict(list)
    for _ in range(ROUNDS):
        for layout in chance.sample(LAYOUTS, len(LAYOUTS)):
            taken[layout].append(times(layout, connections[layout], known))
    print(f"{'':14} {'put, mean':>12} {'get, median':>14} {'use, mean':>13} {'file':>9}")
    for layout, connection in connections.items():
        put = statistics.mean(each["put"] for each in taken[layout]) / PUTS * 1e6
        get = statistics.median(each["get"] for each in taken[layout]) * 1e3
        use = statistics.mean(each["use"] for each in taken[layout]) * 1e3
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        size = (directory / name_of(layout)).stat().st_size / 1e6
        print(f"{name_of(layout):14} {put:9.1f} us {get:11.2f} ms {use:10.2f} ms {size:6.1f} MB")
        connection.close()


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, Path(place))
