import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rag_papers.persist.caching import BYPASS, REFRESH, USE
from rag_papers.persist.embedding_cache import CachingEncoder
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoders import HashingEncoder
from rag_papers.retrieval.encoders.batching import ROWS as BATCH

from .processes import run_python

TABLE = CacheTable.EMBEDDINGS


class RecordingEncoder(HashingEncoder):
    """Remembers the texts of every batch."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__(dim)
        self.runs: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.runs.append(list(texts))
        return super().encode(texts)

    @property
    def texts(self) -> list[str]:
        return [text for batch in self.runs for text in batch]


@pytest.fixture
def encoder() -> RecordingEncoder:
    return RecordingEncoder()


@pytest.fixture
def cache(encoder: RecordingEncoder, store: SqliteStore) -> CachingEncoder:
    return CachingEncoder(encoder, store)


def words(count: int) -> list[str]:
    return [f"paper {'long ' * (number % 7)}{number}" for number in range(count)]


def test_vectors_come_in_the_order_of_the_texts(cache: CachingEncoder) -> None:
    texts = words(3 * BATCH + 5)
    expected = HashingEncoder(16).encode(texts)
    for _ in range(2):
        np.testing.assert_array_equal(cache.encode(texts).vectors, expected)
    assert cache.encode(texts).vectors.dtype == np.float32


def test_the_first_time_misses_and_the_second_hits(cache: CachingEncoder, encoder: RecordingEncoder) -> None:
    texts = words(BATCH + 3)
    first, second = cache.encode(texts), cache.encode(list(reversed(texts)))
    assert (first.hits, first.misses) == (0, len(texts))
    assert (second.hits, second.misses) == (len(texts), 0)
    assert sorted(encoder.texts) == sorted(texts)


def test_only_what_is_new_is_computed(cache: CachingEncoder, encoder: RecordingEncoder) -> None:
    cache.encode(["a1", "b1"])
    embedded = cache.encode(["b1", "c1", "a1"])
    assert (embedded.hits, embedded.misses) == (2, 1)
    assert encoder.runs[-1] == ["c1"]


def test_repeats_are_computed_once_and_counted_each_time(cache: CachingEncoder, encoder: RecordingEncoder) -> None:
    embedded = cache.encode(["same", "other", "same", "same"])
    assert (embedded.hits, embedded.misses) == (0, 4)
    assert sorted(encoder.texts) == ["other", "same"]
    np.testing.assert_array_equal(embedded.vectors[0], embedded.vectors[2])
    assert cache.encode(["same", "same"]).hits == 2


def test_spellings_of_one_text_share_a_vector(cache: CachingEncoder) -> None:
    cache.encode(["caf\u00e9"])
    assert cache.encode(["cafe\u0301"]).hits == 1


def test_no_texts_have_no_vectors(cache: CachingEncoder) -> None:
    assert cache.encode([]).vectors.shape == (0, 16)


def test_encoders_of_other_identity_do_not_share_vectors(store: SqliteStore) -> None:
    CachingEncoder(HashingEncoder(16), store).encode(["text"])
    other = CachingEncoder(HashingEncoder(32), store).encode(["text"])
    assert (other.hits, other.vectors.shape) == (0, (1, 32))


def test_refreshing_computes_anew_and_replaces(
    cache: CachingEncoder, encoder: RecordingEncoder, store: SqliteStore
) -> None:
    wrong = np.full(16, 0.25, "<f4")
    cache.encode(["text"])
    [key] = store_keys(store)
    store.put(TABLE, key, wrong.tobytes())
    np.testing.assert_array_equal(cache.encode(["text"]).vectors, [wrong])
    refreshed = cache.encode(["text"], REFRESH)
    assert (refreshed.hits, refreshed.misses) == (0, 1)
    np.testing.assert_array_equal(cache.encode(["text"]).vectors, HashingEncoder(16).encode(["text"]))
    assert len(encoder.runs) == 2


def test_bypassing_neither_reads_nor_writes(
    cache: CachingEncoder, encoder: RecordingEncoder, store: SqliteStore
) -> None:
    assert cache.encode(["text"], BYPASS).misses == 1
    assert store.stats()[TABLE].count == 0
    cache.encode(["text"], USE)
    before = store.stats()
    assert cache.encode(["text"], BYPASS).misses == 1
    assert store.stats() == before
    assert encoder.texts == ["text"] * 3


def test_progress_is_told_after_every_batch_and_ends_with_all(cache: CachingEncoder) -> None:
    texts = words(2 * BATCH + 1)
    cache.encode(texts[:10])
    told: list[int] = []
    cache.encode(texts + texts[:20], on_progress=lambda advance: told.append(advance.done))
    assert told == sorted(told)
    assert len(told) == 2
    assert told[-1] == len(texts) + 20
    assert told[0] >= 20 + BATCH


@pytest.mark.parametrize("size", [0, 4, 15 * 4, 17 * 4, 63])
def test_a_value_of_the_wrong_size_is_missing(cache: CachingEncoder, store: SqliteStore, size: int) -> None:
    cache.encode(["text"])
    [key] = store_keys(store)
    store.put(TABLE, key, bytes(size))
    embedded = cache.encode(["text"])
    assert embedded.misses == 1
    np.testing.assert_array_equal(embedded.vectors, HashingEncoder(16).encode(["text"]))
    assert cache.encode(["text"]).hits == 1


def test_a_death_half_way_keeps_the_finished_batches(cache: CachingEncoder, tmp_path: Path) -> None:
    result = run_python(
        """
        import os, sys
        from pathlib import Path
        from rag_papers.persist.embedding_cache import CachingEncoder
        from rag_papers.persist.sqlite_store import SqliteStore
        from rag_papers.retrieval.encoders import HashingEncoder
        from rag_papers.retrieval.encoders.batching import ROWS as BATCH

        class Dying(HashingEncoder):
            runs = 0

            def encode(self, texts):
                self.runs += 1
                if self.runs == 3:
                    os._exit(9)
                return super().encode(texts)

        CachingEncoder(Dying(16), SqliteStore(Path(sys.argv[1]))).encode([f"text {n}" for n in range(4 * BATCH)])
        """,
        tmp_path / "cache.db",
    )
    assert result.returncode == 9, result.stderr
    embedded = cache.encode([f"text {number}" for number in range(4 * BATCH)])
    assert (embedded.hits, embedded.misses) == (2 * BATCH, 2 * BATCH)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "cache.db").mkdir()
    store = SqliteStore(tmp_path / "cache.db")
    for _ in range(2):
        assert CachingEncoder(HashingEncoder(16), store).encode(["text"]).misses == 1


def store_keys(store: SqliteStore) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM embeddings")]
