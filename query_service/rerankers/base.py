"""What a reranker is given and gives, and the ranking that comes of it."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from query_service.encoders import CallVectors
from query_service.evidence import Coverage, RankedPassage
from query_service.question import Question
from query_service.stop import Stop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieved:
    """A question and the passages that were retrieved for it."""

    question: Question
    passages: Sequence[RankedPassage]
    """With all their sentences; the score is the fused one."""
    coverage: Coverage
    vectors: CallVectors | None
    """None if no retrieval gives the vectors weight."""
    stop: Stop


class Reranker(Protocol):
    """Scores passages by more than retrieval can afford to look at. Safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and version; changed when equal passages may get other scores."""

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        """A score in [0, 1] for each passage, which no other passage changes. Raises DeadlineExceeded."""


def rerank(reranker: Reranker, retrieved: Retrieved) -> list[RankedPassage]:
    """The passages by `reranker`, best first, ties in order of position."""
    # In one order whatever retrieval's was: products of other batches may differ in their last bits.
    passages = sorted(retrieved.passages, key=lambda passage: passage.candidate.position)
    scores = reranker.scores(dataclasses.replace(retrieved, passages=passages))
    scored = [dataclasses.replace(passage, score=score) for passage, score in zip(passages, scores, strict=True)]
    return sorted(scored, key=lambda passage: -passage.score)
