"""What the measures mean, by figures worked out by hand."""

import math

import pytest

from rag_client.evaluation.measures import Latency, Measures


def test_one_ranking_by_hand():
    measures = Measures.of({"q": ["a", "b", "c"]}, {"q": {"b": 2, "c": 1, "missing": 1, "a": 0}})
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert measures.ndcg_at_10 == pytest.approx((2 / math.log2(3) + 1 / math.log2(4)) / ideal)
    assert measures.recall_at_10 == measures.recall_at_100 == pytest.approx(2 / 3)
    assert measures.mrr_at_10 == 0.5


@pytest.mark.parametrize("rankings", [{}, {"found": ["d"], "lost": []}, {"found": ["d"], "lost": ["d", "e"]}])
def test_a_query_that_found_nothing_relevant_counts_as_zero(rankings):
    measures = Measures.of(rankings, {"found": {"d": 1}, "lost": {"x": 1}})
    expected = 0.5 if rankings else 0.0
    assert measures == Measures(ndcg_at_10=expected, recall_at_10=expected, recall_at_100=expected, mrr_at_10=expected)


def test_each_measure_looks_as_deep_as_its_name_says():
    ranking = [f"d{rank}" for rank in range(1, 121)]
    assert Measures.of({"q": ranking}, {"q": {"d10": 1, "d100": 1, "d101": 1}}) == Measures(
        ndcg_at_10=pytest.approx(1 / math.log2(11) / (1 + 1 / math.log2(3) + 1 / 2)),
        recall_at_10=pytest.approx(1 / 3),
        recall_at_100=pytest.approx(2 / 3),
        mrr_at_10=pytest.approx(0.1),
    )
    assert Measures.of({"q": ranking}, {"q": {"d11": 1}}).mrr_at_10 == 0.0


def test_the_order_given_counts_and_not_the_names():
    for ranking, reciprocal in ((["a", "b"], 0.5), (["b", "a"], 1.0), (["z", "y", "b"], 1 / 3)):
        assert Measures.of({"q": ranking}, {"q": {"b": 1}}).mrr_at_10 == pytest.approx(reciprocal)


def test_negative_relevance_is_not_relevant():
    assert Measures.of({"q": ["bad", "good"]}, {"q": {"bad": -2, "good": 1}}).mrr_at_10 == 0.5


def test_latency():
    assert Latency.of([float(time) for time in range(100, 0, -1)]) == Latency(
        p50=50.0, p95=95.0, p99=99.0, mean=50.5, max=100.0
    )
    assert Latency.of([7.0]) == Latency(p50=7.0, p95=7.0, p99=7.0, mean=7.0, max=7.0)
