"""Fusion: BM25 and vector scores to one ranking with a total order."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.top import top

FUSION = "bounded-1"
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
    bound: float,
    bm25_weight: float,
    vector_weight: float,
    top_k: int,
    among: npt.NDArray[np.int64] | None = None,
) -> list[Candidate]:
    """The `top_k` best passages by the weighted mean of BM25 / `bound` and cosine, ties in order of position.

    `bm25` and `vector` hold a score for every passage, (n,) each, and None where the weight is 0. `bound` is the most
    that the query can score in BM25; it makes one side comparable with the other without looking at other passages, so
    that what else is found changes no score. Negative cosines count as 0. Passages without any query term are
    candidates only if the vectors have weight. (A convex combination with theoretical normalisation: Bruch, Gai &
    Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023.)

    `among` holds the positions, ascending, that are to be ranked; None: all. It changes no score, so that the ranking
    is that of all passages less the others.
    """
    total = bm25_weight + vector_weight
    parts: list[npt.NDArray[np.float32]] = []
    if bm25 is not None:
        # A term that nearly all passages hold may exceed the bound; without a term nothing scores.
        scale = max(bound, float(bm25.max(initial=0.0))) or 1.0
        parts.append(bm25 * np.float32(bm25_weight / total / scale))
    if vector is not None:
        parts.append(np.maximum(vector, 0) * np.float32(vector_weight / total))
    fused = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    ranked = fused if among is None else fused[among]
    best = top(ranked, top_k) if vector is not None else top(ranked, top_k, above=0.0)
    if among is not None:
        best = among[best]
    return [
        Candidate(
            int(position),
            min(1.0, float(fused[position])),
            0.0 if bm25 is None else float(bm25[position]),
            0.0 if vector is None else float(vector[position]),
        )
        for position in best
    ]
