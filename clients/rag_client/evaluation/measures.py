"""How good rankings are by judgements, and how long they took."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Self

import ir_measures
from ir_measures import RR, R, nDCG


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """Means over all judged queries, each in [0, 1], as trec_eval computes them and BEIR reports them."""

    ndcg_at_10: float
    """Normalised discounted cumulative gain with the relevance as gain (Järvelin & Kekäläinen, 2002)."""
    recall_at_10: float
    """Share of a query's relevant documents that are among the first 10."""
    recall_at_100: float
    """The same of the first 100."""
    mrr_at_10: float
    """One over the rank of the first relevant document; 0 if none is among the first 10."""

    @classmethod
    def of(cls, rankings: Mapping[str, Sequence[str]], judgements: Mapping[str, Mapping[str, int]]) -> Self:
        """Of rankings, documents best first by query. A judged query without a ranking, or without any relevant
        document, counts as 0."""
        # trec_eval sorts by score and breaks ties in an order of its own: distinct ones keep the ranking as it is.
        run = {
            query_id: {document_id: -float(rank) for rank, document_id in enumerate(ranking)}
            for query_id, ranking in rankings.items()
        }
        values = ir_measures.calc_aggregate([nDCG @ 10, R @ 10, R @ 100, RR @ 10], judgements, run)
        return cls(
            ndcg_at_10=values[nDCG @ 10],
            recall_at_10=values[R @ 10],
            recall_at_100=values[R @ 100],
            mrr_at_10=values[RR @ 10],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """How long calls took, milliseconds. Percentiles by nearest rank: values that were measured."""

    p50: float
    p95: float
    p99: float
    mean: float
    max: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Self:
        """Of at least one call."""
        ordered = sorted(times)

        def percentile(share: int) -> float:
            return ordered[math.ceil(len(ordered) * share / 100) - 1]

        return cls(
            p50=percentile(50),
            p95=percentile(95),
            p99=percentile(99),
            mean=statistics.fmean(ordered),
            max=ordered[-1],
        )
