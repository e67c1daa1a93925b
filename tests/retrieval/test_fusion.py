import numpy as np
import pytest

from rag_papers.retrieval.fusion import Candidate, Mix, fuse


def ranking(
    bm25: list[float] | None, vector: list[float] | None, w_bm25: float = 0.5, w_vector: float = 0.5, top_k: int = 100
) -> list[Candidate]:
    mix = Mix.of(bm25_weight=w_bm25, vector_weight=w_vector, bound=4.0, highest=max(bm25 or [0.0]))
    positions = np.arange(len(bm25 or vector or []))
    words = None if bm25 is None else np.array(bm25, np.float32)
    return fuse(positions, words, None if vector is None else np.array(vector), mix, top_k, bm25=words)


def positions(candidates: list[Candidate]) -> list[int]:
    return [candidate.position for candidate in candidates]


def test_the_best_of_both_comes_first() -> None:
    best, *_ = ranking([1, 2, 0], [0.1, 0.75, 0.2])
    assert best == Candidate(1, 0.625, 2.0, 0.75)


def test_the_bm25_score_that_is_said_does_not_rank() -> None:
    mix = Mix.of(bm25_weight=1, vector_weight=1, bound=4.0, highest=2.0)
    words, cosines, said = np.array([1, 2], np.float32), np.array([0.5, 0.5]), np.array([3, 1], np.float32)
    found = fuse(np.arange(2), words, cosines, mix, 2, bm25=said)
    assert found == [Candidate(1, 0.5, 1.0, 0.5), Candidate(0, 0.375, 3.0, 0.5)]


def test_a_score_depends_on_its_passage_alone() -> None:
    alone = ranking([2], [0.5])
    assert alone == [Candidate(0, 0.5, 2.0, 0.5)]
    assert ranking([2, 4, 1], [0.5, 1, -1])[1] == alone[0]


def test_scores_stay_within_their_bounds_where_a_term_exceeds_the_bound() -> None:
    assert [candidate.score for candidate in ranking([8, 4], None, 1, 0)] == [1.0, 0.5]


def test_no_candidate_is_dropped_because_it_was_last() -> None:
    assert positions(ranking([0, 3, 1], [0.9, 0.5, -0.2])) == [1, 0, 2]
    assert positions(ranking([5, 3, 1], None, 1, 0)) == [0, 1, 2]
    assert all(candidate.score > 0 for candidate in ranking([5, 3, 1], None, 1, 0))
    assert positions(ranking(None, [0.9, 0.5, 0.2], 0, 1)) == [0, 1, 2]


def test_ties_keep_the_order_of_the_passages() -> None:
    assert positions(ranking([1] * 50, [0.5] * 50)) == list(range(50))
    assert positions(ranking([1] * 50, [0.5] * 50, top_k=7)) == list(range(7))
    assert positions(ranking([0, 2, 1, 2, 1, 2], None, 1, 0, top_k=4)) == [1, 3, 5, 2]


@pytest.mark.parametrize("top_k", [3, 4, 10**9])
def test_there_may_be_fewer_than_asked_for(top_k: int) -> None:
    assert len(ranking([1, 2, 3], [0.1, 0.2, 0.3], top_k=top_k)) == 3


def test_a_longer_ranking_begins_with_the_shorter_one() -> None:
    random = np.random.default_rng(7)
    bm25, vector = random.integers(0, 5, 200).tolist(), (random.integers(-4, 5, 200) / 4).tolist()
    whole = ranking(bm25, vector, top_k=200)
    for top_k in (1, 2, 17, 199):
        assert ranking(bm25, vector, top_k=top_k) == whole[:top_k]


def test_with_vectors_every_passage_is_a_candidate() -> None:
    assert len(ranking([0, 1, 0], [0.1, 0.2, 0.3], 0.999, 0.001)) == 3
    assert len(ranking(None, [0.1, 0.2, 0.3], 0, 1)) == 3


def test_the_scale_of_the_weights_does_not_matter() -> None:
    bm25, vector = [0, 3, 1, 2], [0.2, 0.1, 0.9, -0.3]
    assert ranking(bm25, vector, 0.5, 0.5) == ranking(bm25, vector, 4, 4)


def test_one_passage_scores() -> None:
    assert ranking([2], [0.5]) == [Candidate(0, 0.5, 2.0, 0.5)]
    assert ranking(None, [0.5], 0, 1) == [Candidate(0, 0.5, 0.0, 0.5)]
