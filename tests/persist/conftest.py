from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_papers.persist.sqlite_store import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "cache.db")
    yield store
    store.close()
