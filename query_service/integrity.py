"""Whether the files of an open index are still those that were published."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.index_store import OpenIndex, verify

logger = logging.getLogger(__name__)

AT_ONCE_BYTES = 16 << 20
"""Indexes up to this size are read whole when they are opened, which takes some ten milliseconds."""

Unusable = IndexDamaged | IndexNotFound | FormatUnsupported
"""Why an index cannot answer."""


class CheckedIndex:
    """An open index and what is known of its files. Safe to use from several threads."""

    def __init__(self, index: OpenIndex) -> None:
        self.index = index
        self._sound = threading.Event()
        self._fault: Unusable | None = None

    @property
    def is_sound(self) -> bool:
        """Every file was compared with its SHA-256; until then nothing that the index says may be cached."""
        return self._sound.is_set()

    @property
    def fault(self) -> Unusable | None:
        """What the check found."""
        return self._fault

    def check(self) -> None:
        """Reads every file; searches may then use the approximate index.

        Raises IndexDamaged, IndexNotFound or FormatUnsupported, which `fault` then says too.
        """
        try:
            verify(self.index.directory)
            self.index.use_approximate()
        except (IndexDamaged, IndexNotFound, FormatUnsupported) as error:
            self._fault = error
            raise
        self._sound.set()


class BackgroundChecks:
    """Checks large indexes one after the other, while they answer already."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="integrity")

    def submit(self, checked: CheckedIndex) -> None:
        """Checks an index as soon as those before it are done."""
        self._executor.submit(self._check, checked)

    def close(self) -> None:
        """Ends with the check that is running."""
        self._executor.shutdown(cancel_futures=True)

    @staticmethod
    def _check(checked: CheckedIndex) -> None:
        try:
            checked.check()
        except Exception as error:  # a fault is what the next call is told; the thread goes on
            logger.error("index %s answers no more: %s", checked.index.corpus_id, error)
