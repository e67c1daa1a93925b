"""The order in which a page's lines are read, and what on it is no text of the paper."""

import dataclasses
import itertools
import re
import statistics
from collections import Counter
from collections.abc import Sequence

from ingest_service.readers.pdf_lines import Line, rows

_EDGE = 0.12
"""The part of a page's height at its upper and lower edge where running heads stand."""
_PAGE_NUMBER = re.compile(r"\W*(?:page\s+)?(?:[0-9]{1,5}|[ivxlc]{1,7})(?:\s*(?:of|/)\s*[0-9]{1,5})?\W*", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a PDF."""

    height: float
    """Points."""
    bottom: float
    """Of its lower edge."""
    lines: Sequence[Line]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """Lines from top to bottom that follow each other in one column of a page."""

    lines: Sequence[Line]
    left: float
    right: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """The type of the paper's running text."""

    size: float
    bold: bool
    leading: float
    """From one line to the next, points."""


def body_of(lines: Sequence[Line]) -> Body:
    """The size and weight that most characters have."""
    styles: Counter[tuple[float, bool]] = Counter()
    for line in lines:
        styles[line.size, line.bold] += len(line.text)
    size, bold = max(styles, key=lambda style: (styles[style], style))
    body = [line for line in lines if (line.size, line.bold) == (size, bold)]
    steps = [
        above.bottom - line.bottom
        for above, line in itertools.pairwise(body)
        if above.page == line.page and 0.8 * size < above.bottom - line.bottom < 2.5 * size
    ]
    return Body(size=size, bold=bold, leading=statistics.median(steps) if steps else 1.2 * size)


def without_running_heads(pages: Sequence[Page]) -> list[Page]:
    """The pages without page numbers, and without what stands at the same place near the edge of several pages."""
    seen: Counter[tuple[str, int]] = Counter()
    for page in pages:
        seen.update({_shape(page, line) for line in page.lines if _at_edge(page, line)})
    often = 2 if len(pages) < 8 else 3
    return [
        dataclasses.replace(page, lines=[line for line in page.lines if not _is_running(page, line, seen, often)])
        for page in pages
    ]


def _is_running(page: Page, line: Line, seen: Counter[tuple[str, int]], often: int) -> bool:
    if not _at_edge(page, line):
        return False
    text, place = _shape(page, line)
    return bool(_PAGE_NUMBER.fullmatch(line.text)) or sum(seen[text, place + step] for step in (-1, 0, 1)) >= often


def _shape(page: Page, line: Line) -> tuple[str, int]:
    return _DIGITS.sub("0", line.text.lower()), round((line.bottom - page.bottom) / 6)


def _at_edge(page: Page, line: Line) -> bool:
    place = ((line.bottom + line.top) / 2 - page.bottom) / page.height
    return place < _EDGE or place > 1 - _EDGE


def columns(page: Page, body: Body) -> tuple[list[Column], list[Line]]:
    """The columns of a page in reading order, and what stands beside them in the margin or in another direction."""
    upright = [line for line in page.lines if line.upright]
    margin = [line for line in page.lines if not line.upright]
    wide = [line for line in upright if abs(line.size - body.size) < 0.6 and line.right - line.left > 12 * body.size]
    if len(wide) >= 4:
        left, right = _common(wide)
        beside = [line for line in upright if line.right < left - 0.2 * body.size or line.left > right + body.size]
        # Tables and figures may reach beyond the text too, but not with lines of their own all along it.
        if len(beside) >= 3:
            margin += rows(beside)
            upright = [line for line in upright if line not in beside]
    return _order(upright, body), margin


def _common(lines: Sequence[Line]) -> tuple[float, float]:
    lefts, rights = sorted(line.left for line in lines), sorted(line.right for line in lines)
    few = len(lines) // 20
    return lefts[few], rights[-1 - few]


def _order(lines: Sequence[Line], body: Body) -> list[Column]:
    gutter = _gutter(lines, body)
    if gutter is None:
        return [_column(lines)] if lines else []
    found: list[Column] = []
    band: list[Line] = []

    def close() -> None:
        for side in (
            [line for line in band if line.right <= gutter],
            [line for line in band if line.left >= gutter],
        ):
            found.extend(_order(side, body))
        band.clear()

    across: list[Line] = []
    for line in sorted(lines, key=lambda line: -line.top):
        if line.left < gutter < line.right:
            close()
            across.append(line)
        else:
            if across and not _beside(across, line):
                found.append(_column(across))
                across = []
            (across if across else band).append(line)
    if across:
        found.append(_column(across))
    close()
    return found


def _beside(lines: Sequence[Line], line: Line) -> bool:
    last = lines[-1]
    return min(last.top, line.top) - max(last.bottom, line.bottom) > 0.5 * (line.top - line.bottom)


def _column(lines: Sequence[Line]) -> Column:
    ordered = rows(lines)
    lefts = Counter(round(line.left) for line in ordered)
    left = max(lefts, key=lambda place: (lefts[place], -place))
    return Column(lines=ordered, left=left, right=max(line.right for line in ordered))


def _gutter(lines: Sequence[Line], body: Body) -> float | None:
    """Where a strip without text divides most of `lines` into two columns."""
    if len(lines) < 6:
        return None
    low, high = min(line.left for line in lines), max(line.right for line in lines)
    total = sum(len(line.text) for line in lines)
    best: tuple[int, float, float] | None = None
    step = 2.0
    place = low + 0.2 * (high - low)
    while place < low + 0.8 * (high - low):
        left = [line for line in lines if line.right <= place]
        right = [line for line in lines if line.left >= place]
        if len(left) >= 3 and len(right) >= 3:
            across = total - sum(len(line.text) for line in (*left, *right))
            room = min(line.left for line in right) - max(line.right for line in left)
            if (
                across <= 0.5 * total
                and room >= 0.5 * body.size
                and _fills(left, body)
                and _fills(right, body)
                and _overlap(left, right)
            ):
                candidate = (-across, room, place)
                best = max(best, candidate) if best else candidate
        place += step
    return best[2] if best else None


def _fills(lines: Sequence[Line], body: Body) -> bool:
    """Whether these are lines of text, and not cells of a table."""
    width = max(line.right for line in lines) - min(line.left for line in lines)
    return width >= 10 * body.size and statistics.median(line.right - line.left for line in lines) >= 0.5 * width


def _overlap(left: Sequence[Line], right: Sequence[Line]) -> bool:
    spans = [(min(line.bottom for line in side), max(line.top for line in side)) for side in (left, right)]
    shared = min(top for _, top in spans) - max(bottom for bottom, _ in spans)
    return shared >= 0.3 * min(top - bottom for bottom, top in spans)
