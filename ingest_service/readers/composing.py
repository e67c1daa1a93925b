"""The text of a document, put together from headings and paragraphs by readers of formats that are not text already."""

import dataclasses
import re

from ingest_service.readers.document import Headings, PageStart, Section

_BETWEEN = "\n\n"
_REFERENCES = re.compile(
    r"(?:[0-9]+|[ivxlc]+)?[.)]?\s*(?:references(?: (?:and notes|cited))?|bibliography|(?:literature|works) cited|"
    r"literatur(?:verzeichnis)?|références(?: bibliographiques)?|bibliografía|referencias|参考文献)\s*:?",
    re.IGNORECASE,
)


def names_references(heading: str) -> bool:
    """Whether what stands under `heading` is the list of references."""
    return _REFERENCES.fullmatch(heading.strip()) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composition:
    """What was put together; see `Document` for the fields."""

    text: str
    sections: tuple[Section, ...]
    pages: tuple[PageStart, ...]


class Composer:
    """Takes headings and paragraphs in reading order. Paragraphs are divided by blank lines."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._above = Headings()
        self._sections: list[Section] = []
        self._pages: list[PageStart] = []
        self._in_references = False

    def heading(self, level: int, text: str, page: int = 0) -> None:
        """Begins a section inside those of lower `level`. The list of references belongs to the text, to no section."""
        self._append(text, page)
        self._above.add(level, text)
        self._in_references = any(map(names_references, self._above.texts()))

    def paragraph(self, text: str, *pages: tuple[int, int]) -> None:
        """Adds a paragraph; `pages` are places in `text` at which a page begins, with its number, the first at 0."""
        start = self._append(text)
        for place, page in pages:
            self._turn(start + place, page)
        if self._in_references:
            return
        heading = self._above.joined()
        if self._sections and self._sections[-1].heading == heading and self._is_last(self._sections[-1], start):
            start = self._sections.pop().start
        self._sections.append(Section(heading=heading, start=start, end=self._length))

    def aside(self, text: str, page: int = 0) -> None:
        """Adds what belongs to the text and to no section, as the title does."""
        self._append(text, page)

    def references(self) -> None:
        """Says that the list of references follows, under no heading of its own."""
        self._in_references = True

    def top(self) -> None:
        """Ends all sections: what follows stands under no heading."""
        self._above, self._in_references = Headings(), False

    def done(self) -> Composition:
        """All of it."""
        return Composition(text="".join(self._parts), sections=tuple(self._sections), pages=tuple(self._pages))

    def _append(self, text: str, page: int = 0) -> int:
        if self._parts:
            self._parts.append(_BETWEEN)
            self._length += len(_BETWEEN)
        start = self._length
        self._turn(start, page)
        self._parts.append(text)
        self._length += len(text)
        return start

    def _turn(self, start: int, page: int) -> None:
        if page and (not self._pages or self._pages[-1].page != page):
            self._pages.append(PageStart(start=start, page=page))

    def _is_last(self, section: Section, start: int) -> bool:
        return section.end + len(_BETWEEN) == start
