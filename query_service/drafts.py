"""Drafts: what a generator wrote, kept with the answer, for the next version of a corpus to reuse.

A new version of a corpus has another key for every answer. But where it leads to the same evidence, the very same
sentences of the same passages at the same places, the generator need not write again: its draft stands, and all else is
made anew, the search, the citations, and the verdict. So nothing of an older version can be in the answer.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from query_service.generators.base import Assignment, Citation, DraftSentence, Generator
from rag_papers.persist.hashing import Canonical, digest

logger = logging.getLogger(__name__)

_Cited: TypeAlias = tuple[int, int, int, str]
Draft: TypeAlias = tuple[tuple[str, tuple[_Cited, ...]], ...]
"""The sentences: text and citations, each of these by its source, start, end and quote."""


class ReusingGenerator:
    """A generator for one run, which writes only what is not among the drafts of an earlier one."""

    def __init__(self, generator: Generator, known: Mapping[str, Draft]) -> None:
        """`known` are the drafts, by assignment, of this generator for this question under this configuration."""
        self._generator = generator
        self._known = known
        self.drafts: dict[str, Draft] = {}
        """Of this run."""
        self.written = 0
        """Drafts that the generator had to write."""

    @property
    def identity(self) -> str:
        """That of the generator."""
        return self._generator.identity

    @property
    def is_spared(self) -> bool:
        """Whether there was something to write and nothing was written."""
        return bool(self.drafts) and not self.written

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The draft, reused or written. Raises what the generator raises."""
        key = _key(assignment)
        known = self._known.get(key)
        if known is not None and (reused := _sentences(known, assignment)) is not None:
            self.drafts[key] = known
            return reused
        self.written += 1
        sentences = self._generator.generate(assignment)
        self.drafts[key] = tuple(
            (
                sentence.text,
                tuple((cited.source, cited.start_byte, cited.end_byte, cited.quote) for cited in sentence.citations),
            )
            for sentence in sentences
        )
        return sentences


def encode(drafts: Mapping[str, Draft]) -> bytes:
    """The bytes to store with an answer."""
    return json.dumps(drafts, ensure_ascii=False).encode()


def decode(data: bytes) -> Mapping[str, Draft]:
    """The drafts that `encode` made bytes of; none of what is not of that form."""
    try:
        return {
            str(key): tuple(
                (
                    str(text),
                    tuple((int(source), int(start), int(end), str(quote)) for source, start, end, quote in cited),
                )
                for text, cited in draft
            )
            for key, draft in json.loads(data).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        logger.warning("the drafts of a cached answer are damaged and ignored: %s", error)
        return {}


def _key(assignment: Assignment) -> str:
    """All that an assignment hands over, but for the scores, which other papers of the corpus have their part in."""
    evidence: list[Canonical] = [
        [item.source, item.sentence.start_byte, item.sentence.end_byte, dataclasses.asdict(item.sentence.record)]
        for item in assignment.evidence
    ]
    how = [assignment.strict, float(assignment.temperature), assignment.seed]
    return digest(["draft", assignment.question.text, assignment.question.intent, *how, evidence]).hex()


def _sentences(draft: Draft, assignment: Assignment) -> list[DraftSentence] | None:
    """A draft over the evidence of now; None if it cites what is not there."""
    records = {item.source: item.sentence.record for item in assignment.evidence}
    if any(source not in records for _, cited in draft for source, *_ in cited):
        return None
    return [
        DraftSentence(
            text=text,
            citations=tuple(
                Citation(source=source, record=records[source], start_byte=start, end_byte=end, quote=quote)
                for source, start, end, quote in cited
            ),
        )
        for text, cited in draft
    ]
