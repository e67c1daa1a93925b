"""Lines of columns to paragraphs: what belongs together, and which words a hyphen at a line's end divides."""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ingest_service.readers.pdf_layout import Body, Column
from ingest_service.readers.pdf_lines import Line

_MOST_BETWEEN = 6
"""Notes and captions that may stand between two parts of a paragraph, and the first part."""
_BULLET = re.compile(r"[•▪■◦‣●∙·] ?")
_ITEM = re.compile(r"[*–—-] |\(?[0-9]{1,2}[.)] |\(?[a-z][.)] |\[[0-9]{1,3}\] ?")
_CLOSED = re.compile(r"[.!?:;。！？][\"'”’»)\]]*(?:\[?[0-9,–-]+\]?)?$")
_ADDRESS = re.compile(r"://|10\.[0-9]{4,9}/|doi:10\.$", re.IGNORECASE)
_LAST_WORD = re.compile(r"[^\W_]+(?:[-\u2010][^\W_]+)*$")
_WORD = re.compile(r"[^\W_]+(?:[-\u2010][^\W_]+)*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Lines that belong together, as one text."""

    text: str
    pages: tuple[tuple[int, int], ...]
    """Places in `text` at which a page begins, with its number, the first at 0."""
    size: float
    bold: bool
    lines: int
    top: float
    """Of its first line, points above the lower edge of the page."""

    @property
    def page(self) -> int:
        """The page on which it begins."""
        return self.pages[0][1]


class Words:
    """What a document's words say about a hyphen at the end of a line."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._seen: Counter[str] = Counter()
        divided = False
        for line in lines:
            words = _WORD.findall(line.text.lower().replace("\u2010", "-"))
            words = words[divided : -1 if line.hyphen else None]  # halves of words are no words
            divided = line.hyphen
            self._seen.update(words)
            for word in words:
                self._seen.update(word.split("-") if "-" in word else ())

    def keep_hyphen(self, before: str, after: str) -> bool:
        """Whether the hyphen between two lines belongs to the word that it divides."""
        first, second = _LAST_WORD.search(before), _WORD.match(after)
        if not first or not second or not after[:1].islower() or not before[-1:].isalpha():
            return True
        left, right = first[0].lower(), second[0].lower()
        if self._seen[f"{left}-{right}"] != self._seen[left + right]:
            return self._seen[f"{left}-{right}"] > self._seen[left + right]
        # Neither spelling occurs elsewhere: two words of the paper are two words here, unless they are mere syllables.
        return len(left) > 3 and len(right) > 3 and bool(self._seen[left] and self._seen[right])


def paragraphs(columns: Sequence[Column], body: Body, words: Words) -> list[Paragraph]:
    """The paragraphs of the columns, which are in reading order; one may go on in the next column."""
    groups: list[list[Line]] = []
    current: list[Line] = []
    before: Column | None = None
    for column in columns:
        for number, line in enumerate(column.lines):
            if not current:
                begins = True
            elif number == 0:
                begins = not _goes_on(current, line, before)
            else:
                begins = _begins(current, line, column, body)
            if begins and (torn := _torn(groups, line, body)):
                current = torn
            elif begins:
                groups.append(current := [])
            current.append(line)
        before = column
    return [_paragraph(group, words) for group in groups]


def _goes_on(group: Sequence[Line], line: Line, column: Column | None) -> bool:
    """Whether a paragraph goes on from the end of one column at the beginning of the next."""
    last = group[-1]
    if _differ(last, line) or _is_item(group, line):
        return False
    if last.hyphen:
        return True
    open_end = not _CLOSED.search(last.text)
    return open_end and (line.text[:1].islower() or (column is not None and last.right > column.right - 2 * last.size))


def _torn(groups: Sequence[list[Line]], line: Line, body: Body) -> list[Line] | None:
    """The paragraph that `line` goes on with where notes or captions at the edge of a page stand in between."""
    if not line.text[:1].islower() or not _is_body(line, body):
        return None
    for group in reversed(groups[-_MOST_BETWEEN:]):
        last = group[-1]
        if _is_body(last, body):
            elsewhere = last.page < line.page or last.bottom < line.bottom
            return group if elsewhere and (last.hyphen or not _CLOSED.search(last.text)) else None
        if last.bold or last.size > body.size:
            return None
    return None


def _is_body(line: Line, body: Body) -> bool:
    return abs(line.size - body.size) < 0.06 * body.size and line.bold == body.bold


def _begins(group: Sequence[Line], line: Line, column: Column, body: Body) -> bool:
    last = group[-1]
    if _differ(last, line) or _is_item(group, line):
        return True
    if last.bottom - line.bottom > max(1.3 * body.leading, 1.6 * line.size):
        return True
    closed = _CLOSED.search(last.text) is not None
    indented = line.left - column.left > 0.7 * line.size and last.left - column.left < 0.5 * line.size
    short = last.right < column.right - 0.25 * (column.right - column.left)
    hanging = len(group) == 1 and (_BULLET.match(group[0].text) or _ITEM.match(group[0].text))
    return closed and (indented or short) and not hanging


def _is_item(group: Sequence[Line], line: Line) -> bool:
    """Whether an item of a list begins; a dash or a number may as well stand at the beginning of any line."""
    if _BULLET.match(line.text):
        return True
    return bool(_ITEM.match(line.text) and (_CLOSED.search(group[-1].text) or _ITEM.match(group[0].text)))


def _differ(one: Line, other: Line) -> bool:
    return abs(one.size - other.size) > 0.06 * max(one.size, other.size) or one.bold != other.bold


def _paragraph(group: Sequence[Line], words: Words) -> Paragraph:
    text = group[0].text
    pages = [(0, group[0].page)]
    for before, line in itertools.pairwise(group):
        if before.laid_out and line.laid_out:
            text += "-\n" if before.hyphen else "\n"
        elif before.hyphen:
            text += "-" if words.keep_hyphen(text, line.text) else ""
        elif not text.endswith("—") and not _divided_address(text, line.text):
            text += " "
        if line.page != before.page:
            pages.append((len(text), line.page))
        text += line.text
    return Paragraph(
        text=text + ("-" if group[-1].hyphen else ""),
        pages=tuple(pages),
        size=group[0].size,
        bold=all(line.bold for line in group),
        lines=len(group),
        top=group[0].top,
    )


def _divided_address(before: str, after: str) -> bool:
    """Whether a web address was broken between two lines, where no space belongs."""
    word = before.rpartition(" ")[2]
    if word.endswith(":") and after.startswith("//"):
        return True
    if not _ADDRESS.search(word):
        return False
    return after[:1] in "/.-_=&?#%" or (word[-1] in "/.-_=&?:#%" and (after[0].islower() or after[0].isdigit()))
