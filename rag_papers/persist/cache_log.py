"""The write-ahead log of the cache database is moved to the file by a thread, so that no put waits for the disk."""

import threading

from rag_papers.persist.cache_database import CacheDatabase

CHECKPOINT_BYTES = 8 << 20
"""Written by this process between two checkpoints, of the pages that the log is given, about."""

_TRANSACTION_BYTES = 4 * 4096  # pages that a transaction changes beside those of the values


class CacheLog:
    """Begins a checkpoint after so much was written. Safe to use from several threads and over forks.

    A thread for each, as they are rare. Those who write go on meanwhile, and do it themselves if the log becomes four
    times as long nevertheless; see `cache_schema`.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def written(self, size: int) -> None:
        """A transaction has written values of `size` bytes."""
        with self._lock:
            self._bytes += size + _TRANSACTION_BYTES
            if self._bytes < CHECKPOINT_BYTES or (self._thread and self._thread.is_alive()):
                return
            self._bytes = 0
            self._thread = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Waits for the checkpoint that is under way."""
        if self._thread:
            self._thread.join()

    def _checkpoint(self) -> None:
        # PASSIVE waits for nobody, and leaves what somebody still reads, or writes meanwhile, to the next.
        statement = "PRAGMA wal_checkpoint(PASSIVE)"
        self._database.read("moving the log", lambda connection: connection.execute(statement).fetchall(), [])
