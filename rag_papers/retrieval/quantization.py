"""Vectors in bytes, and what that costs at most: a quarter of the memory to read, and candidates that miss nothing.

A row of numbers becomes signed bytes and a scale (scalar quantization). Sums of products of bytes are exact, so that
the one error is that of the rounding, and it has a bound: by the triangle inequality and that of Cauchy and Schwarz

    |q . v - q' . v'| <= |q - q'| |v'| + |q| |v - v'|    with    |v - v'| <= sqrt(dim) * scale / 2
"""

import dataclasses
from collections.abc import Sequence

import numkong
import numpy as np
import numpy.typing as npt

_LARGEST = 127
_BLOCK = 2048  # rows whose products with several queries are still in the processor's cache when they are turned

Rows = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """Rows in bytes. A row is about its codes times its scale."""

    codes: npt.NDArray[np.int8]
    """(n, dim), each in [-127, 127]."""
    scales: Rows
    """(n,), not negative: the row's largest absolute value / 127."""


def quantize(rows: Rows) -> Quantized:
    """`rows` (n, dim) in bytes; every row a function of itself alone, the same on every processor."""
    scales = np.abs(rows).max(axis=1, initial=0.0) / np.float32(_LARGEST)
    divisors = np.where(scales > 0, scales, np.float32(1))
    return Quantized(codes=np.rint(rows / divisors[:, None]).astype(np.int8), scales=scales)


class QuantizedSearch:
    """Cosines of L2-normalised rows from their bytes. Safe to use from several threads."""

    def __init__(self, quantized: Quantized) -> None:
        self._codes, self._scales = quantized.codes, quantized.scales
        self._error: float | None = None

    def cosines(self, queries: Sequence[Rows]) -> list[tuple[Rows, float]]:
        """For each of `queries` (dim,), L2-normalised: its cosines with all rows (n,), and how far they are off."""
        asked = quantize(np.stack(queries))
        lone = len(queries) == 1 and len(self._codes)  # numkong compares with one row at least
        sums = self._one(asked.codes) if lone else self._many(asked.codes)
        return [
            (row * (self._scales * scale), self._margin(query, codes * scale))
            for row, query, codes, scale in zip(sums, queries, asked.codes, asked.scales, strict=True)
        ]

    def _one(self, query: npt.NDArray[np.int8]) -> Rows:
        return np.asarray(numkong.cdist(query, self._codes, metric="dot", out_dtype="float32"))

    def _many(self, queries: npt.NDArray[np.int8]) -> Rows:
        packed = numkong.dots_pack(queries, "int8")
        sums = np.empty((len(queries), len(self._codes)), np.float32)
        for start in range(0, len(self._codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            sums[:, block] = np.asarray(numkong.dots_packed(self._codes[block], packed)).T
        return sums

    def _margin(self, query: Rows, rounded: Rows) -> float:
        dim = len(query)
        if self._error is None:
            # A little more than the bound, for the rounding of the division before it.
            self._error = float(self._scales.max(initial=0.0)) * dim**0.5 * (0.5 + 1e-4)
        of_query = float(np.linalg.norm(query.astype(np.float64) - rounded))
        arithmetic = (dim + 8) * float(np.finfo(np.float32).eps)
        return of_query * (1 + self._error) + self._error + arithmetic
