"""Free text with [n] marks, as language models write it, to sentences with citations, while it is being written."""

import re
from collections.abc import Iterator, Sequence

from query_service.evidence import Evidence
from query_service.generators.base import Citation, DraftSentence
from query_service.generators.prompt import REFUSAL
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.sentences import sentences

_MARK = re.compile(r"\s*\[\s*\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\s*\]")
_MARKS = re.compile(rf"(?:{_MARK.pattern})+")
_UNFINISHED = re.compile(r"\[[\d\s,;–-]*")
_GLUED = re.compile(r"(?<=[.!?])(?=\[\s*\d)")
_NUMBERS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_CITED = 2  # sentences of one passage that a mark stands for at most

# The phrase that was asked for, and the ways in which models say the same.
_REFUSES = re.compile(
    rf"{re.escape(REFUSAL.rstrip('.'))}\b"
    r"|(?:unfortunately,? |sorry,? )?(?:the|these) (?:\w+ )?(?:papers?|passages?|texts?|documents?|context) "
    r"(?:do|does) not (?:answer|say\.|(?:contain|provide|give|include) (?:the|an) answer|"
    r"(?:contain|provide|give|include) (?:enough|sufficient|any)\b)"
    r"|i (?:do not|don't) know\b|i (?:cannot|can't) answer\b",
    re.IGNORECASE,
)


class Refused(Exception):
    """The text says that the passages do not answer the question."""


class MarkedText:
    """A text that grows. A sentence is settled once the next one has begun: marks may follow its full stop."""

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self._evidence = evidence
        self._rest = ""
        self._settled: list[DraftSentence] = []

    def add(self, piece: str) -> list[DraftSentence]:
        """The sentences that are settled by this piece. Raises Refused, before any is."""
        self._rest = _GLUED.sub(" ", self._rest + piece)
        return self._settle(whole=False)

    def end(self) -> list[DraftSentence]:
        """The sentences that are settled by there being no more. Raises Refused."""
        return self._settle(whole=True)

    def _settle(self, *, whole: bool) -> list[DraftSentence]:
        found = []
        while end := _first_end(self._rest, whole):
            said, self._rest = self._rest[:end], self._rest[end:]
            text = " ".join(_MARK.sub("", said).split())
            if not self._settled and _REFUSES.match(text):
                raise Refused
            if text:
                sentence = DraftSentence(text=text, citations=tuple(self._citations(text, said)))
                self._settled.append(sentence)
                found.append(sentence)
        return found

    def _citations(self, text: str, said: str) -> Iterator[Citation]:
        """For each passage that is marked, its sentences that share most with `text`; none if nothing is shared."""
        wanted = frozenset(terms(text))
        for source in _sources(said):
            left = wanted
            sentences_of_it = [item.sentence for item in self._evidence if item.source == source]
            for _ in range(min(_CITED, len(sentences_of_it))):
                best = max(sentences_of_it, key=lambda sentence: len(sentence.terms & left))
                if not best.terms & left:
                    break
                left -= best.terms
                yield Citation.of(best, source)


def _first_end(text: str, whole: bool) -> int:
    """Where the first sentence of `text` ends, with its marks; 0 if that cannot be told yet, or there is none."""
    first = next(iter(sentences(text)), None)
    if first is None:
        return 0
    marks = _MARKS.match(text, first.end)
    end = marks.end() if marks else first.end
    rest = text[end:].lstrip()
    return end if whole or (rest and not _UNFINISHED.fullmatch(rest)) else 0


def _sources(text: str) -> Sequence[int]:
    """The numbers in the marks of `text`, each once, in order; "[2-4]" is three."""
    numbers: dict[int, None] = {}
    for mark in _MARK.findall(text):
        for first, last in _NUMBERS.findall(mark):
            numbers |= dict.fromkeys(range(int(first), int(last or first) + 1))
    return list(numbers)
