"""vectors.npy while it is being written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
import numpy.typing as npt


class VectorFile:
    """Takes vectors one after the other, however many there will be.

    Written, not mapped: a full disk is an error then, and pages that are written are not held in memory.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self._file = path.open("w+b")
        self._dim = dim
        self._count = 0
        self._write_header()
        self._begin = self._file.tell()

    def append(self, rows: npt.NDArray[np.float32]) -> None:
        """Adds `rows`, (n, dim)."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows, "<f4").data)
        self._count += len(rows)

    def read(self, positions: Sequence[int]) -> npt.NDArray[np.float32]:
        """(len(positions), dim): rows that have been added."""
        rows = np.empty((len(positions), self._dim), np.float32)
        for row, position in enumerate(positions):
            self._file.seek(self._begin + position * 4 * self._dim)
            rows[row] = np.frombuffer(self._file.read(4 * self._dim), "<f4")
        return rows

    def close(self) -> None:
        """Completes the file."""
        with self._file:
            self._file.seek(0)
            self._write_header()  # numpy leaves room for any number of rows

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._count, self._dim)}
        # Not into the file itself: numpy's errors do not say that there is no space left.
        np.lib.format.write_array_header_1_0(SimpleNamespace(write=self._file.write), header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
