"""What is told of a plan while it runs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

from query_service.config import AskConfig
from query_service.evidence import RankedPassage
from query_service.plan import Step
from query_service.question import Question
from query_service.verification.verify import Issue


@dataclasses.dataclass(frozen=True, kw_only=True)
class Started:
    """The plan is about to run."""

    steps: Sequence[Step]
    question: Question
    config: AskConfig
    corpus_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sourced:
    """An attempt knows what it will answer from."""

    passages: Sequence[RankedPassage]
    """Best first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """The next piece of the answer. It is final: nothing that was said is ever replaced."""

    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verified:
    """An attempt was verified."""

    score: float
    accepted: bool
    issues: Sequence[Issue]


Event: TypeAlias = Started | Sourced | Said | Verified
Listener: TypeAlias = Callable[[Event], None]
"""Is told of events in order, in the thread that works; it must not wait for anything."""


def to_nobody(event: Event) -> None:
    """The listener of a call that wants the result alone."""
