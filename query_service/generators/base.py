"""What a generator is given and gives."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from query_service.evidence import Evidence, Sentence
from query_service.question import Question
from query_service.stop import Stop
from rag_papers.persist.index_store import PassageRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Citation:
    """The bytes that support a sentence of an answer."""

    source: int
    """Rank among the sources, from 1."""
    record: PassageRecord
    start_byte: int
    """In the document's extracted text."""
    end_byte: int
    """Exclusive."""
    quote: str

    @classmethod
    def of(cls, sentence: Sentence, source: int) -> "Citation":
        """A citation of a whole sentence."""
        return cls(
            source=source,
            record=sentence.record,
            start_byte=sentence.start_byte,
            end_byte=sentence.end_byte,
            quote=sentence.quote,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DraftSentence:
    """A sentence of an answer that is yet to be verified."""

    text: str
    citations: tuple[Citation, ...]


def keep_to_oneself(text: str) -> None:
    """Where nobody may hear text before the answer is whole."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a generator writes an answer from."""

    question: Question
    evidence: Sequence[Evidence]
    """The context in reading order: by source, then by place."""
    strict: bool
    """Keep to the best evidence: the answer before was not accepted."""
    temperature: float
    seed: int
    stop: Stop = dataclasses.field(default_factory=Stop)
    """A generator that takes its time looks at it while it writes; one that waits lets itself be woken by it."""
    say: Callable[[str], None] = keep_to_oneself
    """May be given text as soon as it is certain to be in the answer: what it was given, joined, must be the beginning
    of the sentences' texts joined by single spaces. Nothing must have been said for an answer without sentences. Raises
    DeadlineExceeded, which ends the writing. Not to be called from another thread."""


class Generator(Protocol):
    """Writes answers. Safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and version; changed when equal assignments may give another answer."""

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The sentences of the answer in order; none if there is nothing to say. Raises DeadlineExceeded."""
