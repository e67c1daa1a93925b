"""Which texts are encoded together."""

from collections import defaultdict
from collections.abc import Sequence

ROWS = 32
"""Most texts of a batch whose tokens are not counted."""

TOKENS = 512
"""Tokens of a batch: more of them do not fit the caches of a CPU and make it no faster."""


def by_length(lengths: Sequence[int], rows: int = ROWS) -> list[list[int]]:
    """Positions in `lengths` in batches of `rows`, shortest first: a batch is padded to its longest text."""
    order = _ascending(lengths)
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def by_tokens(lengths: Sequence[int], tokens: int = TOKENS) -> list[list[int]]:
    """Positions in `lengths` in groups of at most `tokens` tokens, or of one text, shortest first."""
    groups: list[list[int]] = []
    room = 0
    for position in _ascending(lengths):
        if not groups or lengths[position] > room:
            groups.append([])
            room = tokens
        groups[-1].append(position)
        room -= lengths[position]
    return groups


def of_equal_length(lengths: Sequence[int], tokens: int = TOKENS) -> list[list[int]]:
    """Positions in `lengths` in batches of one length and at most `tokens` tokens, or of one text, shortest first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for position, length in enumerate(lengths):
        groups[length].append(position)
    batches = []
    for length, group in sorted(groups.items()):
        rows = max(1, tokens // max(1, length))
        batches += [group[start : start + rows] for start in range(0, len(group), rows)]
    return batches


def _ascending(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda position: (lengths[position], position))
