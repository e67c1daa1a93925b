"""The best of many scores, without sorting or partitioning them all."""

import functools

import numpy as np
import numpy.typing as npt

_BLOCK = 256
_SORTED = 8  # times as many as are wanted are sorted sooner than partitioned


def top(scores: npt.NDArray[np.float32], k: int, *, above: float = -np.inf) -> npt.NDArray[np.int64]:
    """Positions of the `k` largest of `scores` (n,) above `above`, best first, equal ones in order of position."""
    least = _at_most_kth(scores, k)
    (candidates,) = (scores >= least if least > above else scores > above).nonzero()
    among = scores[candidates]
    if len(candidates) > _SORTED * k:
        # Everything that ties with the k-th best takes part, so that the order decides and not the partition.
        candidates = candidates[among >= np.partition(among, -k)[-k]]
        among = scores[candidates]
    return candidates[(-among).argsort(kind="stable")[:k]]


def reaching(scores: npt.NDArray[np.float32], k: int, slack: float) -> npt.NDArray[np.int64]:
    """Positions, ascending, of all `scores` (n,) that fall short of the `k`-th largest by `slack` at most."""
    candidates = np.flatnonzero(scores >= _at_most_kth(scores, k) - slack)
    among = scores[candidates]
    return candidates if len(candidates) <= k else candidates[among >= float(np.partition(among, -k)[-k]) - slack]


def _at_most_kth(scores: npt.NDArray[np.float32], k: int) -> float:
    """A score that the `k`-th largest does not fall below: as many blocks have a maximum of at least that."""
    if k * _BLOCK >= len(scores):
        return -np.inf
    maxima = np.maximum.reduceat(scores, _block_starts(len(scores)))
    maxima.partition(-k)
    return float(maxima[-k])


@functools.lru_cache(maxsize=16)
def _block_starts(count: int) -> npt.NDArray[np.int64]:
    return np.arange(0, count, _BLOCK)
