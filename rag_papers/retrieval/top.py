"""The best of many scores, without sorting or partitioning them all."""

import numpy as np
import numpy.typing as npt

_BLOCK = 256


def top(scores: npt.NDArray[np.float32], k: int, *, above: float = -np.inf) -> npt.NDArray[np.int64]:
    """Positions of the `k` largest of `scores` (n,) above `above`, best first, equal ones in order of position."""
    least = _at_most_kth(scores, k)
    candidates = np.flatnonzero(scores >= least if least > above else scores > above)
    if len(candidates) > k:
        # Everything that ties with the k-th best takes part, so that the order decides and not the partition.
        among = scores[candidates]
        candidates = candidates[among >= np.partition(among, -k)[-k]]
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def reaching(scores: npt.NDArray[np.float32], k: int, slack: float) -> npt.NDArray[np.int64]:
    """Positions, ascending, of all `scores` (n,) that fall short of the `k`-th largest by `slack` at most."""
    candidates = np.flatnonzero(scores >= _at_most_kth(scores, k) - slack)
    among = scores[candidates]
    return candidates if len(candidates) <= k else candidates[among >= float(np.partition(among, -k)[-k]) - slack]


def _at_most_kth(scores: npt.NDArray[np.float32], k: int) -> float:
    """A score that the `k`-th largest does not fall below: as many blocks have a maximum of at least that."""
    maxima = np.maximum.reduceat(scores, np.arange(0, len(scores), _BLOCK)) if len(scores) else scores
    return float(np.partition(maxima, -k)[-k]) if k <= len(maxima) else -np.inf
