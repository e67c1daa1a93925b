"""Hybrid search over one index.

However candidates are found, they are ranked by canonical scores, which depend on a passage and the query alone. So
neither a filter nor the queries that are worked on at the same time change a bit of a result.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25
from rag_papers.retrieval.fusion import Candidate, Mix, fuse
from rag_papers.retrieval.top import reaching, top
from rag_papers.retrieval.vectors import VectorSearch

_DELTA = 1.0  # of BM25+, which takes the place of BM25 beside the vectors; that which its authors propose
_NEIGHBOURS_TIMES_K = 3  # times top_k neighbours are asked for: their order by bytes is not quite that by cosines
_BESIDE_WORDS = 100  # and beside words that many: what else may be among the best depends on the farthest of them
_SHARE = 10  # candidates of more than one passage in so many: then a coarse look at all costs no more

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class Searchable(Protocol):
    """What an index offers to a search."""

    bm25: Bm25
    vector_search: VectorSearch


def search(
    index: Searchable,
    query: str,
    vector: Scores | None,
    *,
    bm25_weight: float,
    vector_weight: float,
    top_k: int,
    among: Positions | None = None,
    exact: bool = True,
) -> list[Candidate]:
    """The `top_k` best passages for `query`, best first.

    `vector` (dim,), L2-normalised, may be None if the vectors have no weight.

    A weight of 0 leaves its side out altogether; without vectors only passages with a term of the query are found.
    `among` holds the positions, ascending, of the passages that may be found; None: all. Unless `exact`, the
    approximate index may find the candidates, if there is one: a passage that belongs among the best may then be
    missing, but the scores are the same. A filtered search is always exact.
    """
    words = terms(query)
    hybrid = vector is not None and vector_weight > 0
    delta = _DELTA if hybrid else 0.0
    lexical = index.bm25.scores(words, delta=delta) if bm25_weight else None
    mix = Mix.of(
        bm25_weight=bm25_weight,
        vector_weight=vector_weight,
        bound=index.bm25.bound(words, delta=delta),
        highest=0.0 if lexical is None else float(lexical.max(initial=0.0)),
    )
    if vector is None or not hybrid:
        best = _best_by_words(lexical, among, top_k)
        return fuse(best, _at(best, lexical), None, mix, top_k, bm25=_at(best, lexical))
    vectors = index.vector_search
    if among is None and not exact and vectors.approximate:
        among = _candidates(vectors, vector, lexical, mix, top_k)
    if among is None or len(among) * _SHARE > len(vectors):
        among = _coarsely(vectors, vector, lexical, mix, top_k, among)
    fused = mix.fused(_at(among, lexical), vectors.rough(vector, among))
    chosen = among[reaching(fused, top_k, _slack(vectors))]
    bm25 = index.bm25.scores_at(words, chosen) if bm25_weight else None
    return fuse(chosen, _at(chosen, lexical), vectors.canonical(vector, chosen), mix, top_k, bm25=bm25)


def _best_by_words(lexical: Scores | None, among: Positions | None, top_k: int) -> Positions:
    if lexical is None:
        return np.empty(0, np.int64)
    if among is None:
        return np.sort(top(lexical, top_k, above=0.0))
    return among[np.sort(top(lexical[among], top_k, above=0.0))]


def _coarsely(
    vectors: VectorSearch, vector: Scores, lexical: Scores | None, mix: Mix, top_k: int, among: Positions | None
) -> Positions:
    """Positions, ascending, of all that may be among the best of `among` (None: of all), by coarse cosines."""
    cosines, margin = vectors.coarse(vector)
    fused = mix.fused(_at(among, lexical), cosines if among is None else cosines[among])
    near = reaching(fused, top_k, 2 * mix.vector * margin + _slack(vectors))
    return near if among is None else among[near]


def _candidates(
    vectors: VectorSearch, vector: Scores, lexical: Scores | None, mix: Mix, top_k: int
) -> Positions | None:
    """Positions, ascending, that hold the best passages, as far as the graph finds the neighbours; None: all may.

    The BM25+ scores of all passages are known, and a passage that is no neighbour is no nearer than the farthest one.
    So its fused score has a bound, and those whose bound reaches the k-th best score found so far are candidates too.
    (The threshold algorithm: Fagin, Lotem & Naor, "Optimal Aggregation Algorithms for Middleware", 2001.)
    """
    count = max(_NEIGHBOURS_TIMES_K * top_k, _BESIDE_WORDS if lexical is not None else 0)
    neighbours = np.sort(vectors.nearest(vector, count))
    if lexical is None:
        return neighbours if len(neighbours) >= min(top_k, len(vectors)) else None
    known = np.union1d(neighbours, top(lexical, count, above=0.0))
    if len(known) < top_k:
        return None
    cosines = vectors.rough(vector, known)
    farthest = max(0.0, float(cosines[np.searchsorted(known, neighbours)].min()))
    kth = float(np.partition(mix.fused(lexical[known], cosines), -top_k)[-top_k])
    more = np.flatnonzero(lexical * mix.bm25 >= kth - _slack(vectors) - mix.vector * farthest)
    return None if len(more) * _SHARE > len(vectors) else np.union1d(known, more)


def _slack(vectors: VectorSearch) -> float:
    """How much two rough fused scores may stand the wrong way round."""
    return 2 * vectors.margin


def _at(positions: Positions | None, scores: Scores | None) -> Scores | None:
    return scores if positions is None or scores is None else scores[positions]
