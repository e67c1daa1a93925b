"""Reading an answer that was written freely: its sentences, the sources they cite by number, whether it declines."""

import re
from collections.abc import Mapping, Sequence

from query_service.evidence import Sentence
from query_service.generators.base import Citation, DraftSentence
from rag_papers.retrieval.sentences import Span, sentences

_MARK = re.compile(r"\s*\[\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*\]")
_DECLINES = re.compile(
    r"\b(?:papers?|passages?|context|texts?|sources?|documents?|excerpts?|articles?|information|evidence)(?: \w+){0,2} "
    r"(?:do|does|did)(?: not|n['’]t) (?:say|state|mention|contain|provide|"
    r"specify|answer|address|discuss|include|cover|report|tell|give|explain|describe|indicate)\b"
    r"|\b(?:cannot|can['’]t|could not|unable to) (?:be )?(?:answer|answered|find|determine|determined|say)\b"
    r"|\b(?:not enough|insufficient|no) (?:information|evidence|context|answer)\b"
    r"|\bi (?:do not|don['’]t) know\b|\bnot (?:stated|mentioned|specified|addressed|discussed|answered) in the\b",
    re.IGNORECASE,
)


def draft(answer: str, sources: Mapping[int, Sequence[Sentence]]) -> list[DraftSentence]:
    """The sentences of `answer` as they are written, each citing all of the `sources` that its marks, as [2], name.

    A mark without a source cites nothing. Joined by single spaces the texts are the answer, but for its white space.
    """
    return [cited(answer[span.start : span.end], sources) for span in spans(answer)]


def spans(answer: str) -> list[Span]:
    """Where the sentences of `answer` are, with their marks; marks alone are no sentence and go with the one before."""
    joined: list[Span] = []
    for span in sentences(answer):
        if joined and not without_marks(answer[span.start : span.end]):
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def cited(text: str, sources: Mapping[int, Sequence[Sentence]]) -> DraftSentence:
    """A sentence that cites all of the `sources` that its marks name."""
    numbers = dict.fromkeys(int(number) for match in _MARK.finditer(text) for number in re.findall(r"\d+", match[1]))
    citations = (Citation.of(sentence, number) for number in numbers for sentence in sources.get(number, ()))
    return DraftSentence(text=" ".join(text.split()), citations=tuple(citations))


def has_marks(text: str) -> bool:
    """Whether `text` cites sources by number."""
    return bool(_MARK.search(text))


def without_marks(text: str) -> str:
    """`text` without the numbers of sources."""
    return _MARK.sub("", text).strip()


def declines(text: str) -> bool:
    """Whether an answer says, in its first sentence, that the papers do not answer the question."""
    found = sentences(text)
    return bool(found) and bool(_DECLINES.search(text[found[0].start : found[0].end]))
