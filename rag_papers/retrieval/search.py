"""Hybrid search over one index."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25
from rag_papers.retrieval.fusion import Candidate, fuse


class Searchable(Protocol):
    """What an index offers to a search."""

    bm25: Bm25
    vectors: npt.NDArray[np.float32]
    """(n, dim), rows L2-normalised."""


def search(
    index: Searchable,
    query: str,
    vector: npt.NDArray[np.float32] | None,
    *,
    bm25_weight: float,
    vector_weight: float,
    top_k: int,
    among: npt.NDArray[np.int64] | None = None,
) -> list[Candidate]:
    """The `top_k` best passages for `query`, best first; `vector` (dim,) may be None if the vectors have no weight.

    A weight of 0 leaves its side out altogether. `among` holds the positions, ascending, of the passages that may be
    found; None: all.
    """
    words = terms(query)
    bm25 = index.bm25.scores(words) if bm25_weight else None
    # All are scored whatever `among` says: a product of fewer rows may differ in its last bits, and so break ties.
    cosine = np.clip(index.vectors @ vector, -1, 1) if vector is not None and vector_weight else None
    bound = index.bm25.bound(words)
    return fuse(
        bm25, cosine, bound=bound, bm25_weight=bm25_weight, vector_weight=vector_weight, top_k=top_k, among=among
    )
