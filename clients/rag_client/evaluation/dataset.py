"""Questions whose answers are to be measured: JSON lines, one question each."""

import dataclasses
from pathlib import Path
from typing import Any

from rag_client.evaluation import lines
from rag_papers.errors import InvalidRequest

_FIELDS = {"id", "query", "intent", "expected_keywords", "gold_spans", "metadata"}
_SPAN_BY_TEXT = {"document_id", "text"}
_SPAN_BY_BYTES = {"document_id", "start_byte", "end_byte"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoldSpan:
    """A place in a paper that answers a question: by its bytes, or by its text."""

    document_id: str
    start_byte: int = 0
    """In the document's extracted text."""
    end_byte: int = 0
    """Exclusive."""
    text: str = ""
    """What stands there; if given, the bytes are not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question, and what its answer should hold."""

    place: str
    """Where it stands: file and line."""
    id: str
    query: str
    intent: str = ""
    """Empty: to be detected."""
    expected_keywords: tuple[str, ...] = ()
    gold_spans: tuple[GoldSpan, ...] = ()


def read(path: Path) -> list[Question]:
    """The questions in order. InvalidRequest says what is wrong, and in which line."""
    questions: dict[str, Question] = {}
    for place, fields in lines.read_objects(path):
        question = _question(place, fields)
        if question.id in questions:
            raise InvalidRequest(f"{place}: a second question {question.id!r}")
        questions[question.id] = question
    if not questions:
        raise InvalidRequest(f"{path}: it holds no question")
    return list(questions.values())


def _question(place: str, fields: dict[str, Any]) -> Question:
    # A name that is not known is likely a slip, and what it was to say would be missed without a word.
    if unknown := sorted(fields.keys() - _FIELDS):
        raise InvalidRequest(f"{place}: unknown {', '.join(unknown)}; there are: {', '.join(sorted(_FIELDS))}")
    intent = fields.get("intent") or ""
    if not isinstance(intent, str):
        raise InvalidRequest(f'{place}: "intent" is no text')
    keywords = _list(place, fields, "expected_keywords")
    if not all(isinstance(keyword, str) and keyword.strip() for keyword in keywords):
        raise InvalidRequest(f'{place}: "expected_keywords" holds what is no text')
    return Question(
        place=place,
        id=lines.identifier(place, fields, "id"),
        query=lines.text(place, fields, "query"),
        intent=intent,
        expected_keywords=tuple(keywords),
        gold_spans=tuple(_span(place, span) for span in _list(place, fields, "gold_spans")),
    )


def _list(place: str, fields: dict[str, Any], name: str) -> list[Any]:
    values = fields.get(name) or []
    if not isinstance(values, list):
        raise InvalidRequest(f'{place}: "{name}" is no list')
    return values


def _span(place: str, span: Any) -> GoldSpan:
    if not isinstance(span, dict) or span.keys() not in (_SPAN_BY_TEXT, _SPAN_BY_BYTES):
        raise InvalidRequest(
            f'{place}: a gold span has "document_id", and either "start_byte" and "end_byte" or "text", and no more'
        )
    document_id = lines.text(place, span, "document_id")
    if "text" in span:
        return GoldSpan(document_id=document_id, text=lines.text(place, span, "text"))
    start, end = span["start_byte"], span["end_byte"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise InvalidRequest(f"{place}: a gold span does not begin at a byte from 0 and end after it")
    return GoldSpan(document_id=document_id, start_byte=start, end_byte=end)
