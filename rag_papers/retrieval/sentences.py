"""Sentence boundaries: rules for scientific prose of any script."""

import re
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of a text, in characters, end exclusive."""

    start: int
    end: int


_ABBREVIATIONS = frozenset(
    "al approx ca cf col dept dr ed eds eq eqs esp etc ex fig figs i.e e.g inc jr mr mrs ms prof ref refs resp sec "
    "sect sr st subsp suppl tab var viz vs".split()
)
# Abbreviations where a number follows, and words or months where none does.
_BEFORE_NUMBERS = frozenset("apr art aug ch chap dec feb jan jul jun mar no nos nov oct p pp sep sept vol".split())
# Whether these end a sentence the next word tells, if it is one that begins sentences and no name.
_MAY_END = frozenset("al etc inc jr resp sr".split())
_OPENERS = frozenset(
    "a after all also although an as at both but each for from he here however if in it moreover no none on other "
    "others our she such that the their then there these they this those thus to we when while".split()
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*(?:\n\s*)+|\r\n[^\S\r\n]*(?:\r\n\s*)+")
# Numbers of references behind the end of a sentence belong to it: "It is so. [1]", and glued to it: "It is so.1,2 And".
_END = re.compile(
    r"[。！？｡]+[”’」』）]*"  # full-width marks end a sentence without a space after them
    r"|(?<=\s)[.!?](?=\s)"  # a mark that stands alone
    r"|(?<=[a-z)])\.\d{1,3}(?:[,–-]\d{1,3})*+(?=\s+[\"'“‘(]?[A-Z])"
    # possessive, from the run's start: else long runs take for ever
    r"|(?<![.!?؟।…])[.!?؟।…]++[\"'”’»)\]]*+(?:\s?\[\d[\d\s,;–-]{0,40}\])*+(?=\s|$)"
)
_NEXT_WORD = re.compile(r"\s+[\"'“‘«(\[]*([^\W\d_][\w-]*|\d|[^\w\s])")
_LAST_WORD = re.compile(r"([^\W\d_](?:[^\W_]|\.)*)\.$")
_CLOSES = re.compile(r"[\"'”’»)\]]")


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
    found = _NEXT_WORD.match(text, match.end())
    following = found.group(1) if found else ""
    # Unlike "mRNA" and "p53"; or it stands behind a reference: "several spp. [3] , and".
    goes_on = (following.islower() and following.replace("-", "").isalpha()) or following in (",", ";", ".")
    if not mark.startswith("."):
        return not (goes_on and _CLOSES.search(mark))  # as in: "Why?" he asked
    if mark.startswith("..") or text[match.start() - 1 : match.start()].isspace():
        return True
    if goes_on:
        return False
    before = _LAST_WORD.search(text, max(start, match.start() - 40), match.start() + 1)
    return before is None or not _is_abbreviation(text, before, following)


def _is_abbreviation(text: str, before: re.Match[str], following: str) -> bool:
    word = before.group(1)
    if word.lower() in _BEFORE_NUMBERS:
        return any(map(str.isdigit, following))
    # A single capital is an initial ("A. N. Gomez") or a name ("group A."); "b.i.d." and "U.S." have their own periods.
    is_initial = len(word) == 1 and word.isupper() and text[before.start() - 1 : before.start()] != "°"
    may_end = is_initial or "." in word or word.lower() in _MAY_END
    if may_end and word.lower() not in _ABBREVIATIONS - _MAY_END:
        return following.lower() not in _OPENERS
    return word.lower() in _ABBREVIATIONS


def _add(found: list[Span], text: str, start: int, end: int) -> None:
    while start < end and (text[start].isspace() or text[start] == "\ufeff"):
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        found.append(Span(start, end))
