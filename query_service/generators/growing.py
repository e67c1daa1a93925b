"""An answer that is still being written, to its sentences as soon as they are there."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from query_service.evidence import Sentence
from query_service.generators.base import DraftSentence
from query_service.verification.reading import cited, spans, without_marks

_LONG = 1000  # characters of a sentence from which on it is not looked at with every piece
_MARKS_SO_FAR = re.compile(r"\s*(?:\[[\d\s,;]*\]\s*)*(?:\[[\d\s,;]*)?")


class GrowingText:
    """Free text with [n] marks. A sentence is settled once the next one has begun: marks may follow its full stop."""

    def __init__(self, sources: Mapping[int, Sequence[Sentence]]) -> None:
        """`sources` are what marks cite, by number."""
        self._sources = sources
        self._rest = ""
        self._next_look = 0

    def add(self, piece: str) -> list[DraftSentence]:
        """The sentences that are settled by this piece, without their marks, which became citations."""
        self._rest += piece
        # A text without an end of a sentence would otherwise be read again and again.
        if len(self._rest) < self._next_look:
            return []
        self._next_look = len(self._rest) * 9 // 8 if len(self._rest) > _LONG else 0
        found = spans(self._rest)[:-1]
        if found and _MARKS_SO_FAR.fullmatch(self._rest, found[-1].end):
            found.pop()
        return self._settle(found[-1].end if found else 0)

    def end(self) -> list[DraftSentence]:
        """Those that are settled by there being no more text."""
        return self._settle(len(self._rest))

    def _settle(self, end: int) -> list[DraftSentence]:
        text, self._rest = self._rest[:end], self._rest[end:]
        sentences = [cited(text[span.start : span.end], self._sources) for span in spans(text)]
        plain = [dataclasses.replace(sentence, text=without_marks(sentence.text)) for sentence in sentences]
        return [sentence for sentence in plain if sentence.text]
