"""An answer: all of it that does not differ from call to call."""

import dataclasses
from enum import StrEnum
from typing import Self

from query_service.config import AskConfig
from query_service.evidence import RankedPassage
from query_service.generators.base import DraftSentence
from query_service.plan import Step
from query_service.question import Intent
from query_service.running import Run
from query_service.steps import AbstainReason
from query_service.verification.verify import Issue, Judged


class Status(StrEnum):
    """How an answer ended; the names are those of the contract's AnswerStatus."""

    ANSWERED = "answered"
    PARTIAL = "partial"
    ABSTAINED = "abstained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What is cached, and what a caller gets together with what belongs to the call alone."""

    text: str
    status: Status
    abstain_reason: AbstainReason | None
    sentences: tuple[DraftSentence, ...]
    """None on abstention."""
    judged: tuple[Judged, ...]
    """For each sentence."""
    sources: tuple[RankedPassage, ...]
    strength: float
    """Of the evidence, in [0, 1]."""
    score: float
    accepted: bool
    issues: tuple[Issue, ...]
    intent: Intent
    path: tuple[Step, ...]
    steps_skipped: tuple[Step, ...]
    """Left out, or broken off, for want of time."""
    query_parts: int
    """Parts that the question was embedded in; 0 where vectors had no weight."""
    context_chars: int
    repair_used: bool
    config: AskConfig
    corpus_id: str
    generator: str

    @property
    def is_complete(self) -> bool:
        """Whether more time could not have made another answer; only then may it be cached or given to others."""
        return not self.steps_skipped

    @classmethod
    def of(cls, ran: Run) -> Self:
        """The answer that a run came to."""
        best = ran.best
        task = best.task
        given = Status.ANSWERED if best.is_accepted else Status.PARTIAL
        return cls(
            text=best.text,
            status=Status.ABSTAINED if best.abstain_reason else given,
            abstain_reason=best.abstain_reason,
            sentences=() if best.abstain_reason else tuple(best.draft),
            judged=best.verdict.sentences,
            sources=tuple(best.passages),
            strength=best.strength,
            score=best.verdict.score,
            accepted=best.is_accepted,
            issues=best.verdict.issues,
            intent=task.question.intent,
            path=ran.path,
            steps_skipped=ran.skipped,
            query_parts=max(ranking.query_parts for ranking in ran.rankings),
            context_chars=best.context_chars,
            repair_used=best.repair > 0,
            config=task.config,
            corpus_id=task.index.corpus_id,
            generator=task.generator.identity,
        )
