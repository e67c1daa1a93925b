"""Sentence boundaries: rules for scientific prose of any script."""

import re
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of a text, in characters, end exclusive."""

    start: int
    end: int


_ABBREVIATIONS = frozenset(
    "al approx ca cf ch chap col dept dr ed eds eq eqs esp etc ex fig figs i.e e.g inc jr mr mrs ms no nos p pp "
    "prof ref refs resp sec sect sr st suppl tab vol vs viz".split()
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*(?:\n\s*)+|\r\n[^\S\r\n]*(?:\r\n\s*)+")
_END = re.compile(
    r"[。！？｡]+[”’」』）]*"  # full-width marks end a sentence without a space after them
    r"|(?<=\s)[.!?](?=\s)"  # a mark that stands alone
    r"|(?<![.!?؟।…])[.!?؟।…]++[\"'”’»)\]]*+(?=\s)"  # possessive, from the run's start: else long runs take for ever
)
_OPENS_SENTENCE = re.compile(r"\s+[\"'“‘«(\[]*(?:[^\W\d_]|\d|[^\w\s])")
_LAST_WORD = re.compile(r"([^\W\d_](?:[^\W_]|\.)*)\.$")


def sentences(text: str) -> list[Span]:
    """The sentences of `text` in order, without the white space around them; all other characters are in one."""
    found: list[Span] = []
    start = 0
    for paragraph in [*_PARAGRAPH.finditer(text), None]:
        end = paragraph.start() if paragraph else len(text)
        for stop in _stops(text, start, end):
            _add(found, text, start, stop)
            start = stop
        _add(found, text, start, end)
        start = paragraph.end() if paragraph else end
    return found


def _stops(text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in _END.finditer(text, start, end) if _ends_sentence(text, start, match)]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    if not mark.startswith("."):
        return True
    if mark.startswith("..") or text[match.start() - 1 : match.start()].isspace():
        return True
    following = _OPENS_SENTENCE.match(text, match.end())
    if following and following.group()[-1].islower():
        return False
    before = _LAST_WORD.search(text, max(start, match.start() - 40), match.start() + 1)
    if before is None:
        return True
    word = before.group(1)
    # A single capital is an initial ("A. N. Gomez"); "e.g." and "U.S." hold periods of their own.
    return not (word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper()) or "." in word)


def _add(found: list[Span], text: str, start: int, end: int) -> None:
    while start < end and (text[start].isspace() or text[start] == "\ufeff"):
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        found.append(Span(start, end))
