"""Lines of a PDF's pages: what stands where, in which size and weight."""

import ctypes
import dataclasses
import itertools
import re
import statistics
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import pypdfium2.raw as pdfium

_SOFT_HYPHEN = "\x02"  # what PDFium makes of a hyphen at the end of a line
_HYPHENS = ("-", "\u00ad", "\u2010")
_BOLD_WEIGHT = 600
_BOLD_NAME = re.compile(rb"bold|black|heavy|demi|cmbx|[-,]bd\b", re.IGNORECASE)
_FIXED_PITCH = 1  # of the flags of a font
_FIXED_NAME = re.compile(
    rb"mono|courier|consol|typewriter|cmtt|menlo|fira-?code|source-?code|cascadia|(?:^|\+)hack\b", re.IGNORECASE
)
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_CODE = 0.8
"""Share of fixed pitch that makes code of a line: less is text that names a function or two."""
_CELL_GAPS = 2
"""How many wide gaps make a row of cells of a line: a single one may divide a number from its heading."""
_SPACES = re.compile(r"\s+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A line of text, or a part of one; places in points from the lower left corner of its page."""

    page: int
    """From 1."""
    text: str
    left: float
    right: float
    bottom: float
    top: float
    size: float
    """Of its font, points."""
    bold: bool
    upright: bool
    """False for text that runs in another direction than from left to right."""
    hyphen: bool
    """Whether a hyphen at its end, no longer in `text`, may only say that the word goes on in the next line."""
    laid_out: bool
    """Whether its end says something: it is a line of code, or a row of cells."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Style:
    """What the characters of one piece of drawn text have in common."""

    size: float
    bold: bool
    upright: bool
    fixed: bool
    """All characters are as wide as each other."""


class _Run:
    """Characters that stand side by side."""

    def __init__(self, upright: bool) -> None:
        self.upright = upright
        self.characters: list[str] = []
        self.sizes: list[float] = []
        self.fixed_sizes: list[float] = []
        self.bold = 0
        self.left = self.bottom = float("inf")
        self.right = self.top = float("-inf")

    def add(self, character: str, box: Any, style: _Style) -> None:
        self.characters.append(character)
        (self.fixed_sizes if style.fixed else self.sizes).append(style.size)
        self.bold += style.bold
        self.left, self.right = min(self.left, box.left), max(self.right, box.right)
        self.bottom, self.top = min(self.bottom, box.bottom), max(self.top, box.top)

    def continues(self, box: Any, size: float) -> bool:
        """Whether a character at `box` stands beside the last one."""
        overlap = min(self.top, box.top) - max(self.bottom, box.bottom)
        height = min(self.top - self.bottom, box.top - box.bottom)
        return bool(overlap >= 0.3 * height and -size < box.left - self.right < 2 * size)

    def line(self, page: int, hyphen: bool) -> Line | None:
        text = _SPACES.sub(" ", "".join(self.characters)).strip().translate(_LIGATURES)
        count = len(self.sizes) + len(self.fixed_sizes)
        if not text or not count:
            return None
        code = len(self.fixed_sizes) > _CODE * count
        if text.endswith(_HYPHENS) and text[-2:-1].isalpha():
            text, hyphen = text[:-1], True
        return Line(
            page=page,
            text=text,
            left=self.left,
            right=self.right,
            bottom=self.bottom,
            top=self.top,
            size=round(statistics.median_low(self.fixed_sizes if code else self.sizes), 1),
            bold=2 * self.bold > count,
            upright=self.upright,
            hyphen=hyphen,
            laid_out=code,
        )


def lines_of(text_page: Any, page: int) -> tuple[list[Line], int]:
    """The lines of a page in the order in which the file draws them, and how many characters have no Unicode."""
    found: list[Line | None] = []
    box = pdfium.FS_RECTF()
    style, last = _Style(size=0.0, bold=False, upright=True, fixed=False), None
    run: _Run | None = None
    unknown = 0
    for index, character in _characters(text_page):
        if character == " " and run:
            run.characters.append(" ")
        elif character in "\r\n" or character == _SOFT_HYPHEN:
            if run:
                found.append(run.line(page, character == _SOFT_HYPHEN))
            run = None
        elif unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") or character == "\ufffd":
            unknown += 1
        elif not character.isspace():
            pdfium.FPDFText_GetLooseCharBox(text_page, index, box)
            drawn = _address(pdfium.FPDFText_GetTextObject(text_page, index))
            if drawn is None or drawn != last:
                last, style = drawn, _style(text_page, index)
            if run and not run.continues(box, style.size):
                found.append(run.line(page, False))
                run = None
            run = run or _Run(style.upright)
            run.add(character, box, style)
    if run:
        found.append(run.line(page, False))
    return [line for line in found if line], unknown


def _characters(text_page: Any) -> Iterator[tuple[int, str]]:
    """The characters of a page, each with its number there; PDFium gives those beyond 0xFFFF in two halves."""
    high = 0
    for index in range(pdfium.FPDFText_CountChars(text_page)):
        code = pdfium.FPDFText_GetUnicode(text_page, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if high and 0xDC00 <= code < 0xE000:
            code += (high - 0xD800 << 10) + 0x10000 - 0xDC00
        high = 0
        yield index, chr(code)


def _address(pointer: Any) -> int | None:
    return ctypes.cast(pointer, ctypes.c_void_p).value


def _style(text_page: Any, index: int) -> _Style:
    matrix, name = pdfium.FS_MATRIX(), ctypes.create_string_buffer(256)
    size = pdfium.FPDFText_GetFontSize(text_page, index)
    upright = True
    if pdfium.FPDFText_GetMatrix(text_page, index, matrix):
        size *= abs(complex(matrix.c, matrix.d))
        upright = abs(complex(matrix.a, matrix.b)) * 0.9 <= matrix.a
    flags = ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text_page, index, name, len(name), flags)
    heavy = pdfium.FPDFText_GetFontWeight(text_page, index) >= _BOLD_WEIGHT
    return _Style(
        size=size,
        bold=heavy or _BOLD_NAME.search(name.value) is not None,
        upright=upright,
        fixed=bool(flags.value & _FIXED_PITCH) or _FIXED_NAME.search(name.value) is not None,
    )


def rows(lines: Sequence[Line]) -> list[Line]:
    """`lines` from top to bottom, those side by side joined from left to right."""
    groups: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (-line.top, line.left)):
        if groups and _side_by_side(groups[-1], line):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [_joined(sorted(group, key=lambda line: line.left)) for group in groups]


def _side_by_side(group: Sequence[Line], line: Line) -> bool:
    return any(
        min(other.top, line.top) - max(other.bottom, line.bottom)
        > 0.5 * min(other.top - other.bottom, line.top - line.bottom)
        for other in group[:1]
    )


def _joined(group: Sequence[Line]) -> Line:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return first
    text = first.text + ("-" if first.hyphen else "")
    gaps = 0
    for before, line in itertools.pairwise(group):
        gaps += line.left - before.right > line.size
        text += " " if line.left - before.right > 0.15 * line.size else ""
        text += line.text + ("-" if line.hyphen and line is not last else "")
    longest = max(group, key=lambda line: len(line.text))
    return Line(
        page=first.page,
        text=text,
        left=first.left,
        right=max(line.right for line in group),
        bottom=longest.bottom,
        top=longest.top,
        size=longest.size,
        bold=all(line.bold for line in group),
        upright=True,
        hyphen=last.hyphen,
        laid_out=longest.laid_out or gaps >= _CELL_GAPS,
    )
