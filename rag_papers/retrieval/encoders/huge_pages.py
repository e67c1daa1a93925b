"""Weights in huge pages.

A text needs all weights once, so that reading them is what a short one waits for; the pages that the kernel keeps small
unless it is asked end what a CPU reads ahead, and their places are looked up one by one.
"""

import contextlib
import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_SIZE = 2 << 20
_HUGEPAGE, _COLLAPSE = 14, 25  # of madvise(2); the second one, of Linux 6.1, does at once what the first one asks for


@contextlib.contextmanager
def in_huge_pages() -> Iterator[None]:
    """Moves the memory that the process takes meanwhile into huge pages, as far as the system has them."""
    before = _regions()
    yield
    taken = 0
    for start, end in _regions() - before:
        first, last = -(-start // _SIZE) * _SIZE, end // _SIZE * _SIZE
        if first < last and _madvise(first, last - first, _HUGEPAGE):
            taken += last - first
            _madvise(first, last - first, _COLLAPSE)
    logger.debug("%d MiB may be in huge pages", taken >> 20)


def _regions() -> set[tuple[int, int]]:
    """Where memory of no file begins and ends; two that touch are one, and one that has grown is another."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # no Linux
        return set()
    regions = set()
    for place, mode, _, _, _, *name in map(str.split, lines):
        if mode == "rw-p" and name in ([], ["[heap]"]):
            start, end = (int(number, 16) for number in place.split("-"))
            regions.add((start, end))
    return regions


def _madvise(start: int, length: int, advice: int) -> bool:
    return bool(ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), advice) == 0)
