"""The best of many scores, without sorting or partitioning them all."""

import numpy as np
import numpy.typing as npt

_BLOCK = 256


def top(scores: npt.NDArray[np.float32], k: int, *, above: float = -np.inf) -> npt.NDArray[np.int64]:
    """Positions of the `k` largest of `scores` (n,) that exceed `above`, best first, equal ones in order of position.

    `k` blocks hold a score of at least the k-th largest block maximum, so that no smaller score is among the best.
    """
    maxima = np.maximum.reduceat(scores, np.arange(0, len(scores), _BLOCK)) if len(scores) else scores
    least = float(np.partition(maxima, -k)[-k]) if k <= len(maxima) else -np.inf
    candidates = np.flatnonzero(scores >= least if least > above else scores > above)
    if len(candidates) > k:
        # Everything that ties with the k-th best takes part, so that the order decides and not the partition.
        among = scores[candidates]
        candidates = candidates[among >= np.partition(among, -k)[-k]]
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]
