"""A signal that something was written, between processes, seen by the others at the price of a memory access."""

import contextlib
import logging
import mmap
import os
import secrets
from pathlib import Path

logger = logging.getLogger(__name__)

_BYTES = 8


class WriteSignal:
    """One number in a mapped file. Safe to use from several threads and over forks.

    Each signal is a number that never was there before: there is nothing to count, so that no two writers need to agree
    on a count, and nothing that a writer which dies could leave half done. Where the file cannot be mapped there is no
    value, and whoever depends on it has to look at what may have been written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._number: memoryview | None = None
        self._file: tuple[int, int] | None = None
        self.check()

    @property
    def value(self) -> int | None:
        """The number; None if there is none."""
        number = self._number
        return number[0] if number is not None else None

    def give(self) -> None:
        """Tells all processes that something was written; call it after the commit."""
        if self._number is not None:
            self._number[0] = secrets.randbits(64)

    def check(self) -> None:
        """Sees to it that the file is the one at the path, which somebody may have deleted; now and then is enough."""
        with contextlib.suppress(OSError):
            stat = os.stat(self._path)  # noqa: PTH116 - for many calls; Path.stat is slower
            if self._file == (stat.st_dev, stat.st_ino):
                return
        try:
            with self._path.open("a+b") as file:
                stat = os.fstat(file.fileno())
                if hasattr(os, "posix_fallocate"):  # no space is an error here; met by writing to the map it kills
                    os.posix_fallocate(file.fileno(), 0, _BYTES)
                elif stat.st_size < _BYTES:
                    file.truncate(_BYTES)
                mapped = mmap.mmap(file.fileno(), _BYTES)
        except (OSError, ValueError) as error:
            logger.debug("%s cannot be mapped: %s", self._path, error)
            self._number = None
            self._file = None
            return
        # What was mapped before goes when nobody looks at it any more.
        self._map, self._number = mapped, memoryview(mapped).cast("Q")
        self._file = (stat.st_dev, stat.st_ino)

    def close(self) -> None:
        """Ends the use of the file."""
        number, self._number = self._number, None
        if number is not None:
            number.release()
        if self._map is not None:
            with contextlib.suppress(BufferError):
                self._map.close()
