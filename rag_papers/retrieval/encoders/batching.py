"""Which texts are encoded together."""

from collections import defaultdict
from collections.abc import Sequence

ROWS = 32
"""Most texts of a batch."""

TOKENS = 512
"""Tokens of a batch, with its padding: more of them do not fit the caches of a CPU and make it no faster."""

STEP = 8
"""Texts are padded to a multiple of this many tokens."""


def padded(length: int) -> int:
    """Tokens that a text of `length` tokens is padded to: a function of the text alone, whatever it is encoded with."""
    return max(1, -(-length // STEP)) * STEP


def by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Positions in `lengths` in batches of ROWS, shortest first: a batch is padded to its longest text."""
    order = sorted(range(len(lengths)), key=lambda position: (lengths[position], position))
    return [order[start : start + ROWS] for start in range(0, len(order), ROWS)]


def of_equal_length(lengths: Sequence[int], most: int = ROWS) -> list[list[int]]:
    """Positions in `lengths` in batches of one padded length, about TOKENS tokens and at most `most` texts, shortest
    first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for position, length in enumerate(lengths):
        groups[padded(length)].append(position)
    batches = []
    for size, group in sorted(groups.items()):
        rows = max(1, min(most, TOKENS // size))
        batches += [group[start : start + rows] for start in range(0, len(group), rows)]
    return batches
