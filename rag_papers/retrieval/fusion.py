"""Fusion: BM25 and vector scores to one ranking with a total order."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FUSION = "min-max-1"
"""Identity of the fusion; part of every cached ranking's key."""


class Candidate(NamedTuple):
    """A ranked passage."""

    position: int
    """Of the passage in its index; passages lie in the order of document and place in it, which breaks ties."""
    score: float
    """Fused, in [0, 1]."""
    bm25: float
    """At least 0; 0 if BM25 had no weight."""
    vector: float
    """Cosine in [-1, 1]; 0 if the vectors had no weight."""


def fuse(
    bm25: npt.NDArray[np.float32] | None,
    vector: npt.NDArray[np.float32] | None,
    *,
    bm25_weight: float,
    vector_weight: float,
    top_k: int,
) -> list[Candidate]:
    """The `top_k` best passages by the weighted mean of the min-max normalised scores, ties in order of position.

    `bm25` and `vector` hold a score for every passage, (n,) each, and None where the weight is 0. Passages without any
    query term are candidates only if the vectors have weight. (Min-max and the weighted sum: Lee, "Analyses of Multiple
    Evidence Combination", 1997.)
    """
    parts: list[npt.NDArray[np.float64]] = []
    if bm25 is not None:
        parts.append(bm25_weight * _scale(bm25, low=0.0))
    if vector is not None:
        parts.append(vector_weight * _scale(vector, low=float(vector.min())))
    fused = sum(parts) / (bm25_weight + vector_weight)
    assert isinstance(fused, np.ndarray)
    candidates = np.arange(len(fused)) if vector is not None or bm25 is None else np.flatnonzero(bm25)
    best = _top(fused, candidates, top_k)
    return [
        Candidate(
            int(i),
            float(fused[i]),
            0.0 if bm25 is None else float(bm25[i]),
            0.0 if vector is None else float(vector[i]),
        )
        for i in best
    ]


def _scale(scores: npt.NDArray[np.float32], low: float) -> npt.NDArray[np.float64]:
    span = float(scores.max()) - low
    return (scores.astype(np.float64) - low) / span if span > 0 else np.zeros(len(scores))


def _top(scores: npt.NDArray[np.float64], candidates: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    if len(candidates) > k:
        # Everything that ties with the k-th best takes part, so that the order decides and not the partition.
        threshold = np.partition(scores[candidates], -k)[-k]
        candidates = candidates[scores[candidates] >= threshold]
    order = np.lexsort((candidates, -scores[candidates]))
    return candidates[order][:k]
