"""What a generator is given and gives."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from query_service.evidence import Evidence, Sentence
from query_service.question import Question
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


class Generator(Protocol):
    """Writes answers. Safe to use from several threads."""

    @property
    def identity(self) -> str:
        """Name and version; changed when equal assignments may give another answer."""

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The sentences of the answer in order; none if there is nothing to say."""
