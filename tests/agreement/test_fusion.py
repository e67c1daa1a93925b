"""Fusion against a pure Python oracle that sorts everything."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.fusion import Candidate, Mix, fuse

weights = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, 1000.0]) | st.floats(0, 1000, allow_subnormal=False)
bm25_scores = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.5]) | st.floats(0, 100, width=32, allow_subnormal=False)
cosines = st.sampled_from([-1.0, 0.0, 0.25, 1.0]) | st.floats(-1, 1, width=32, allow_subnormal=False)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[list[float], list[float], float, float, float, int]:
    count = draw(st.integers(1, 30))
    bm25 = draw(st.lists(bm25_scores, min_size=count, max_size=count))
    vector = draw(st.lists(cosines, min_size=count, max_size=count))
    pair = draw(st.tuples(weights, weights).filter(any))
    return bm25, vector, draw(st.just(0.0) | st.floats(1e-6, 200)), *pair, draw(st.integers(1, 40))


def oracle(
    bm25: list[float], vector: list[float], bound: float, w_bm25: float, w_vector: float, top_k: int
) -> list[Candidate]:
    share = w_bm25 / (w_bm25 + w_vector) / (max(bound, *bm25) or 1.0)
    of_vector = w_vector / (w_bm25 + w_vector)
    fused = [0.0] * len(bm25)
    if w_bm25:
        fused = [score * share for score in bm25]
    if w_vector:
        fused = [sum_ + max(0.0, score) * of_vector for sum_, score in zip(fused, vector, strict=True)]
    fused = [min(1.0, score) for score in fused]
    ranked = sorted(range(len(fused)), key=lambda position: (-fused[position], position))[:top_k]
    return [Candidate(p, fused[p], bm25[p] if w_bm25 else 0.0, vector[p] if w_vector else 0.0) for p in ranked]


@settings(deadline=None, max_examples=300)
@given(inputs())
def test_rankings_agree(values: tuple[list[float], list[float], float, float, float, int]) -> None:
    bm25, vector, bound, w_bm25, w_vector, top_k = values
    mix = Mix.of(bm25_weight=w_bm25, vector_weight=w_vector, bound=bound, highest=max(bm25))
    words = np.array(bm25, np.float32) if w_bm25 else None
    ranked = fuse(np.arange(len(bm25)), words, np.array(vector) if w_vector else None, mix, top_k, bm25=words)
    assert ranked == oracle(*values)
    assert all(0 <= candidate.score <= 1 for candidate in ranked)
