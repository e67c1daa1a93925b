"""passages.jsonl while it is written: what reads it follows what writes it.

The file is the queue between the stages: reading the papers need not wait for the model, and what waits is on disk.
"""

import json
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from rag_papers.persist.index_store import PassageRecord

NOWHERE = -1
"""The origin of a passage that is new."""


class GrowingPassages:
    """Written by one thread, followed by any number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb", buffering=0)
        self._changed = threading.Condition()
        self._complete = False
        self._error: BaseException | None = None
        self.offsets = array("q", [0])
        """Where each passage begins, and the end."""
        self.origins = array("q")
        """The number of each passage in the earlier version that it is taken from, or NOWHERE."""
        self.fresh = 0
        """Passages that are taken from nowhere."""

    @property
    def count(self) -> int:
        """Passages so far."""
        return len(self.origins)

    @property
    def complete(self) -> bool:
        """Whether these are all."""
        return self._complete

    def append(self, lines: Sequence[bytes], origin: int | None) -> None:
        """Adds passages, the first of which has the number `origin` in the earlier version."""
        if self._error:
            raise self._error
        data = memoryview(b"".join(lines))
        while data:  # a disk that fills up takes a part of it first, and raises then
            data = data[self._file.write(data) :]
        with self._changed:
            for number, line in enumerate(lines):
                self.offsets.append(self.offsets[-1] + len(line))
                self.origins.append(NOWHERE if origin is None else origin + number)
            self.fresh += len(lines) if origin is None else 0
            self._changed.notify_all()

    def end(self) -> None:
        """Says that there are no more."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Lets all who follow, or append, raise `error`, unless there was one before."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def follow(self, sizes: Iterable[int]) -> Iterator[list[PassageRecord]]:
        """All passages, in runs of these sizes, the last one shorter. Waits for what has not been written yet."""
        position = 0
        with self._path.open("rb") as file:
            for size in sizes:
                end = self._wait(position + size)
                if end == position:
                    return
                yield [PassageRecord(**json.loads(file.readline())) for _ in range(end - position)]
                position = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _wait(self, wanted: int) -> int:
        """Waits for so many passages or the end; returns how many there are of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._complete or self.count >= wanted)
            if self._error:
                raise self._error
            return min(self.count, wanted)
