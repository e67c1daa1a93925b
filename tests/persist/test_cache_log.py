"""The log of the cache database is moved to the file beside those who write."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from rag_papers.persist import cache_log
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from tests.persist.processes import start_python

WRITER = """
    import sys
    from pathlib import Path
    from rag_papers.persist import cache_log
    from rag_papers.persist.sqlite_store import CacheTable, SqliteStore

    cache_log.CHECKPOINT_BYTES = 60_000
    store = SqliteStore(Path(sys.argv[1]))
    number = int(sys.argv[2])
    while True:
        store.put(CacheTable.ANSWERS, b"%d" % number, b"%d" % number * 300)
        print(number, flush=True)
        number += 1
"""


def in_the_file_alone(path: Path) -> int:
    """Answers that the database has without its log."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'answers'").fetchone():
            return 0
        count: int = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    return count


@pytest.mark.parametrize(("limit", "is_moved"), [(200_000, True), (cache_log.CHECKPOINT_BYTES, False)])
def test_it_is_moved_after_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, is_moved: bool) -> None:
    monkeypatch.setattr(cache_log, "CHECKPOINT_BYTES", limit)
    store = SqliteStore(tmp_path / "cache.db")
    for number in range(20):
        store.put(CacheTable.ANSWERS, b"%d" % number, bytes(2000))
        store._log.close()  # a checkpoint beside a put leaves pages to the next: the file is whole with its log alone
    assert (in_the_file_alone(store.path) >= 10) == is_moved
    assert len(store.get_many(CacheTable.ANSWERS, [b"%d" % number for number in range(20)])) == 20
    store.close()


def test_processes_that_are_killed_meanwhile_lose_nothing(tmp_path: Path) -> None:
    path, written, seen = tmp_path / "cache.db", 0, []
    for turn in range(6):
        # Two at once: the checkpoints of one meet those of the other, and its puts.
        with start_python(WRITER, path, written) as one, start_python(WRITER, path, 10**6 + written) as other:
            assert one.stdout and other.stdout
            for _ in range(40 + 17 * turn):
                seen += [int(one.stdout.readline()), int(other.stdout.readline())]
            one.kill()
            other.kill()
        written += 1000
    store = SqliteStore(path)
    found = store.get_many(CacheTable.ANSWERS, [b"%d" % number for number in seen])
    assert found == {b"%d" % number: b"%d" % number * 300 for number in seen}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
