"""No reranking."""

from collections.abc import Sequence

from query_service.rerankers.base import Retrieved


class FusedOrder:
    """Leaves the passages in the order of their fused scores."""

    identity = "none-1"

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        """The fused scores."""
        return [passage.score for passage in retrieved.passages]
