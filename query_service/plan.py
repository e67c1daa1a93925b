"""Plans as data: the steps that answer a question of each intent."""

from collections.abc import Mapping
from enum import StrEnum

from query_service.question import Intent


class Step(StrEnum):
    """A step of a plan."""

    RETRIEVE = "retrieve"
    RETRIEVE_SIDES = "retrieve_sides"
    RERANK = "rerank"
    PRUNE = "prune"
    CONTEXTUALIZE = "contextualize"
    GENERATE = "generate"
    VERIFY = "verify"
    REPAIR = "repair"


_ANSWER = (Step.RERANK, Step.PRUNE, Step.CONTEXTUALIZE, Step.GENERATE, Step.VERIFY)
_ATTEMPT = (Step.RETRIEVE, *_ANSWER)

PLANS: Mapping[Intent, tuple[Step, ...]] = {
    Intent.DEFINITION: _ATTEMPT,
    Intent.EXPLANATION: _ATTEMPT,
    # What is best for both sides together may be about one of them alone.
    Intent.COMPARISON: (Step.RETRIEVE, Step.RETRIEVE_SIDES, *_ANSWER),
    Intent.HOW_TO: _ATTEMPT,
    Intent.SUMMARIZATION: _ATTEMPT,
    Intent.UNKNOWN: _ATTEMPT,
}
"""One attempt at an answer, by intent; the last step verifies it."""


def steps(intent: Intent, max_repairs: int) -> tuple[Step, ...]:
    """The whole plan: an attempt and its repairs. It ends early at a verify step that accepts the answer."""
    return PLANS[intent] + max_repairs * (Step.REPAIR, *PLANS[intent])
