"""Fusion: BM25 and vector scores to one ranking with a total order."""

import dataclasses
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

FUSION = "bounded-3"
"""Identity of the fusion; part of every cached ranking's key."""

Scores = npt.NDArray[Any]


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
    """How much BM25(+) scores and cosines count: the weighted mean of BM25 / bound and cosine.

    The bound is the most that the query can score in BM25; it makes one side comparable with the other without looking
    at other passages, so that what else is found changes no score. Negative cosines count as 0. (A convex combination
    with theoretical normalisation: Bruch, Gai & Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023.)
    """

    bm25: float
    """What a BM25 score is multiplied by."""
    vector: float
    """What a cosine is multiplied by."""

    @classmethod
    def of(cls, *, bm25_weight: float, vector_weight: float, bound: float, highest: float) -> Self:
        """For weights that are not both 0, and a query of this bound whose highest BM25 score is `highest`."""
        total = bm25_weight + vector_weight
        # A term that nearly all passages hold may exceed the bound; without a term nothing scores.
        scale = max(bound, highest) or 1.0
        return cls(bm25=bm25_weight / total / scale, vector=vector_weight / total)

    def fused(self, bm25: Scores | None, cosine: Scores | None) -> Scores:
        """The fused scores of passages from their BM25 scores and cosines, in the precision of these; one may be None.

        Each is a function of the passage's own scores alone.
        """
        if cosine is None:
            assert bm25 is not None
            return np.asarray(bm25 * self.bm25)
        by_vector = np.maximum(cosine, 0) * self.vector
        return np.asarray(by_vector if bm25 is None else bm25 * self.bm25 + by_vector)


def fuse(
    positions: npt.NDArray[np.int64],
    lexical: Scores | None,
    vector: Scores | None,
    mix: Mix,
    top_k: int,
    *,
    bm25: Scores | None,
) -> list[Candidate]:
    """The `top_k` best of the passages at `positions`, ascending, by fused score, ties in order of position.

    `lexical` (BM25 or BM25+) and `vector` hold the scores, each None where it has no weight; `bm25` holds the scores
    that are said to be theirs.
    """
    exactly = [None if scores is None else scores.astype(np.float64) for scores in (lexical, vector)]
    fused = np.minimum(mix.fused(*exactly), 1.0)
    return [
        Candidate(
            int(positions[place]),
            float(fused[place]),
            0.0 if bm25 is None else float(bm25[place]),
            0.0 if vector is None else float(vector[place]),
        )
        for place in np.argsort(-fused, kind="stable")[:top_k]
    ]
