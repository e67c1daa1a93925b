import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.top import top

values = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0, -1.0]) | st.floats(-10, 10, width=32)


@settings(deadline=None, max_examples=300)
@given(st.lists(values, max_size=60), st.integers(1, 70), st.integers(1, 30), st.sampled_from([-np.inf, 0.0, 0.5]))
def test_agrees_with_sorting_everything(numbers: list[float], k: int, repeats: int, above: float) -> None:
    scores = np.tile(np.array(numbers, np.float32), repeats)  # more than one block
    oracle = sorted((-score, position) for position, score in enumerate(scores.tolist()) if score > above)[:k]
    assert top(scores, k, above=above).tolist() == [position for _, position in oracle]


@pytest.mark.parametrize("k", [1, 10, 391, 10_000, 200_000])
def test_finds_the_best_of_many(k: int) -> None:
    scores = np.random.default_rng(1).random(100_000, np.float32)
    assert top(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()
