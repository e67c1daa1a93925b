"""Fusion against a pure Python oracle that sorts everything."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.fusion import Candidate, fuse

weights = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, 1000.0]) | st.floats(0, 1000, allow_subnormal=False)
bm25_scores = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.5]) | st.floats(0, 100, width=32, allow_subnormal=False)
cosines = st.sampled_from([-1.0, 0.0, 0.25, 1.0]) | st.floats(-1, 1, width=32, allow_subnormal=False)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[list[float], list[float], float, float, int]:
    count = draw(st.integers(1, 30))
    bm25 = draw(st.lists(bm25_scores, min_size=count, max_size=count))
    vector = draw(st.lists(cosines, min_size=count, max_size=count))
    pair = draw(st.tuples(weights, weights).filter(any))
    return bm25, vector, *pair, draw(st.integers(1, 40))


def scaled(scores: list[float], low: float) -> list[float]:
    span = max(scores) - low
    return [(score - low) / span if span > 0 else 0.0 for score in scores]


def oracle(bm25: list[float], vector: list[float], w_bm25: float, w_vector: float, top_k: int) -> list[Candidate]:
    fused = [0.0] * len(bm25)
    candidates = range(len(bm25))
    if w_bm25:
        fused = [sum_ + w_bm25 * part for sum_, part in zip(fused, scaled(bm25, 0.0), strict=True)]
        if not w_vector:
            candidates = [position for position in candidates if bm25[position]]
    if w_vector:
        fused = [sum_ + w_vector * part for sum_, part in zip(fused, scaled(vector, min(vector)), strict=True)]
    fused = [score / (w_bm25 + w_vector) for score in fused]
    ranked = sorted(candidates, key=lambda position: (-fused[position], position))[:top_k]
    return [Candidate(p, fused[p], bm25[p] if w_bm25 else 0.0, vector[p] if w_vector else 0.0) for p in ranked]


@settings(deadline=None, max_examples=300)
@given(inputs())
def test_rankings_agree(values: tuple[list[float], list[float], float, float, int]) -> None:
    bm25, vector, w_bm25, w_vector, top_k = values
    ranked = fuse(
        np.array(bm25, np.float32) if w_bm25 else None,
        np.array(vector, np.float32) if w_vector else None,
        bm25_weight=w_bm25,
        vector_weight=w_vector,
        top_k=top_k,
    )
    assert ranked == oracle(*values)
    assert all(0 <= candidate.score <= 1 for candidate in ranked)
