"""PDF: text in reading order with its pages; headings are told by the size and weight of their type.

Running heads, page numbers, and characters that PDFium cannot name are left out. The title and the list of references
belong to the text, not to its sections. What stands in the margin comes last; an imprint there is in no section. Lines
of code and rows of tables stay lines.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import pypdfium2 as pdfium

from ingest_service.readers.bibliography import Bibliography, bibliography, doi_in, line, year_in
from ingest_service.readers.composing import Composer, names_references
from ingest_service.readers.document import ByteSource, Document, no_text, read_bytes
from ingest_service.readers.pdf_layout import Body, Column, Page, body_of, columns, without_running_heads
from ingest_service.readers.pdf_lines import Line, lines_of, rows
from ingest_service.readers.pdf_paragraphs import Paragraph, Words, paragraphs
from rag_papers.persist.index_store import FileError

_CAPTION = re.compile(r"(?:figure|fig\.|table|algorithm|listing|box|scheme|plate|equation)\s*[0-9A-Z]", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:[0-9]{1,2}|[IVX]{1,4}|[A-Z])(?P<more>(?:\.[0-9]{1,2})*)[.)]?\s+\S")
_NO_TITLE = re.compile(r"untitled.*|.*\.(?:docx?|tex|dvi|pdf|indd|qxd|rtf)|microsoft word.*|\W*|[\w-]+", re.IGNORECASE)
_LONGEST_HEADING = 160
_SHORTEST_TEXT = 80
_MOST_UNKNOWN = 0.3
"""Share of characters without a Unicode value above which the rest would be a riddle."""
_PUBLISHED = re.compile(
    r"(?:published(?: online)?|publication date|copyright|©|\(c\)|accepted)\D{0,40}?(?:[0-9]{1,2}\D{1,12})?"
    r"\b((?:1[6-9]|20)[0-9]{2})\b",
    re.IGNORECASE,
)
_ARXIV = re.compile(r"arXiv:\S+.{0,30}?\b((?:19|20)[0-9]{2})\b")
_MARKS = re.compile(r"[0-9*†‡§¶∗⋆#,\s]+(?=,|$|\sand\s)|[0-9*†‡§¶∗⋆#]+")
_IMPRINT = re.compile(
    r"\b(?:doi|submitted|received|accepted|published|licen[cs]e|copyright|editor|reviewers|citation|funding|"
    r"open access|repository|archive)\b",
    re.IGNORECASE,
)
_IMPRINT_WORDS = 3
"""How many of these make an imprint."""
_ENTRY = re.compile(r"[^()]{3,600}\((?:(?:1[6-9]|20)[0-9]{2}[a-z]?|n\.d\.)\)\.\s")
"""Names and a year in parentheses, as the entry of a list of references begins."""
_FEWEST_ENTRIES = 3
_NAME = re.compile(r"(?:[^\W\d_][\w.’'\u2010-]*\s){1,5}[^\W\d_][\w.’'\u2010-]+")


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """The file as one document."""
    data = read_bytes(path, file, limit)
    if isinstance(data, FileError):
        yield data
        return
    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            yield FileError(path=path, reason="ENCRYPTED", message="it can be opened with a password alone")
        else:
            yield FileError(path=path, reason="MALFORMED", message="it is no PDF that can be read")
        return
    try:
        yield _document(path, pdf, limit)
    finally:
        pdf.close()


def _document(path: str, pdf: pdfium.PdfDocument, limit: int) -> Document | FileError:
    pages: list[Page] = []
    characters = unknown = 0
    for number in range(len(pdf)):
        try:
            page, strange = _page(pdf, number)
        except pdfium.PdfiumError:
            return FileError(path=path, reason="MALFORMED", message=f"page {number + 1} cannot be read")
        pages.append(page)
        characters += sum(len(line.text) for line in page.lines)
        unknown += strange
        if characters > limit:
            return FileError(path=path, reason="TOO_LARGE", message=f"its text has more than {limit} characters")
    if unknown > _MOST_UNKNOWN * (characters + unknown):
        message = "its fonts do not say which characters they show"
        return FileError(path=path, reason="NO_TEXT", message=message)
    if not characters:
        return no_text(path, "it holds no text, as a scan does")
    return _composed(path, pages, pdf.get_metadata_dict())


def _page(pdf: pdfium.PdfDocument, number: int) -> tuple[Page, int]:
    page = pdf[number]
    text_page = page.get_textpage()
    try:
        found, unknown = lines_of(text_page, number + 1)
        _, bottom, _, top = page.get_bbox()
        return Page(height=max(1.0, top - bottom), bottom=bottom, lines=found), unknown
    finally:
        text_page.close()
        page.close()


def _composed(path: str, pages: Sequence[Page], metadata: dict[str, str]) -> Document | FileError:
    raw = [text for page in pages[:2] for text in (line.text for line in page.lines)]
    kept = without_running_heads(pages)
    lines = [line for page in kept for line in page.lines]
    if not lines:
        return no_text(path)
    body = body_of(lines)
    words = Words(lines)
    flow: list[Column] = []
    margin: list[Line] = []
    for page in kept:
        found, beside = columns(page, body)
        flow += found
        margin += beside
    main = paragraphs(flow, body, words)
    title = _title(main, metadata, body)
    levels = _levels(main, title, body)
    references = _references(main, levels)
    composer = Composer()
    for number, paragraph in enumerate(main):
        if number == references:
            composer.references()
        if number in title:
            composer.aside(paragraph.text, paragraph.page)
        elif number in levels:
            composer.heading(levels[number], paragraph.text, paragraph.page)
        else:
            composer.paragraph(paragraph.text, *paragraph.pages)
    composer.top()
    notes = paragraphs(_margins(margin), body, words)
    imprint = _has_imprint(notes)
    for note in notes:
        if imprint and note.page == 1:
            composer.aside(note.text, note.page)
        else:
            composer.paragraph(note.text, *note.pages)
    done = composer.done()
    if not done.sections:
        return no_text(path)
    named = " ".join(main[number].text for number in title)
    return Document(
        document_id=path,
        place=path,
        title=_metadata_title(metadata) or named or PurePosixPath(path).stem,
        text=done.text,
        sections=done.sections,
        bibliography=_bibliography(metadata, "\n".join(raw), _beneath(main, title)),
        pages=done.pages,
    )


def _has_imprint(notes: Sequence[Paragraph]) -> bool:
    """Whether the margin of the first page tells how the paper was published: nobody asks for that."""
    words = {word.lower() for note in notes if note.page == 1 for word in _IMPRINT.findall(note.text)}
    return len(words) >= _IMPRINT_WORDS


def _margins(lines: Sequence[Line]) -> list[Column]:
    pages = dict.fromkeys(line.page for line in lines)
    found = []
    for page in pages:
        own = [line for line in lines if line.page == page]
        ordered = rows([line for line in own if line.upright]) + [line for line in own if not line.upright]
        left, right = min(line.left for line in own), max(line.right for line in own)
        found.append(Column(lines=ordered, left=left, right=right))
    return found


def _title(main: Sequence[Paragraph], metadata: dict[str, str], body: Body) -> list[int]:
    """Which paragraphs of the first page are the title: those the metadata name, else those in the largest type."""
    first = [number for number, paragraph in enumerate(main) if paragraph.page == main[0].page][:12]
    wanted = _letters(_metadata_title(metadata))
    for number in first:
        if wanted and _letters(main[number].text) == wanted:
            return [number]
    large = [n for n in first if main[n].size > 1.15 * body.size and len(main[n].text) < 300 and len(main[n].text) > 3]
    if not large:
        return []
    size = max(main[number].size for number in large)
    start = next(number for number in large if main[number].size == size)
    return [number for number in large if main[number].size == size and number - start < 3 and number - start >= 0]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _metadata_title(metadata: dict[str, str]) -> str:
    title = line(metadata.get("Title", ""))
    return "" if _NO_TITLE.fullmatch(title) else title


def _levels(main: Sequence[Paragraph], title: Sequence[int], body: Body) -> dict[int, int]:
    """The level of every paragraph that is a heading, from 1."""
    found = [number for number, p in enumerate(main) if number not in title and _is_heading(p, body)]
    text = next((n for n, p in enumerate(main) if n not in found and _is_running(p, body)), len(main))
    # Authors and where they work stand before the text, often in bold; its first heading stands right above it.
    found = [number for number in found if number >= text - 1 and number + 1 < len(main)]
    if title and _names_several(main[found[0]].text if found and found[0] == title[-1] + 1 else ""):
        del found[0]
    styles = sorted({_style(main[n]) for n in found if not _numbered(main[n])}, reverse=True)
    return {n: _numbered(main[n]) or styles.index(_style(main[n])) + 1 for n in found}


def _references(main: Sequence[Paragraph], levels: Mapping[int, int]) -> int:
    """Where a list of references without a heading of its own begins, after the last heading; at the end if nowhere."""
    last = max(levels, default=0)
    entries = [number for number in range(last + 1, len(main)) if _ENTRY.match(main[number].text)]
    if len(entries) >= _FEWEST_ENTRIES and 2 * len(entries) > len(main) - entries[0]:
        return entries[0]
    return len(main)


def _is_heading(paragraph: Paragraph, body: Body) -> bool:
    text = paragraph.text
    if len(text) > _LONGEST_HEADING or paragraph.lines > 3 or not any(map(str.isalpha, text)) or _CAPTION.match(text):
        return False
    if names_references(text):
        return True
    if text[-1] in ".,;" or len(text) < 3:
        return False
    return paragraph.size > 1.1 * body.size or (paragraph.bold and not body.bold and paragraph.size > 0.93 * body.size)


def _is_running(paragraph: Paragraph, body: Body) -> bool:
    same = abs(paragraph.size - body.size) < 0.6 and paragraph.bold == body.bold
    return same and len(paragraph.text) > _SHORTEST_TEXT


def _style(paragraph: Paragraph) -> tuple[int, bool]:
    return round(2 * paragraph.size), paragraph.bold


def _numbered(paragraph: Paragraph) -> int:
    """The depth of a heading's number, 2 for "3.1"; 0 without one that says so."""
    found = _NUMBERED.match(paragraph.text)
    return 1 + found["more"].count(".") if found and found["more"] else 0


def _beneath(main: Sequence[Paragraph], title: Sequence[int]) -> str:
    after = title[-1] + 1 if title else 0
    return main[after].text if title and after < len(main) else ""


def _bibliography(metadata: dict[str, str], raw: str, beneath: str) -> Bibliography:
    fields = {
        "year": year_in(_PUBLISHED, raw) or year_in(_ARXIV, raw),
        "authors": _authors(metadata.get("Author", "")) or metadata.get("Author", ""),
        "doi": metadata.get("doi", ""),
    }
    spoken = {"authors": _authors(beneath), "doi": doi_in(metadata.get("Subject", "")) or doi_in(raw)}
    return bibliography(fields, spoken)


def _names_several(text: str) -> bool:
    """Whether names are listed, or marked with where they work: a heading may look like a single name."""
    names = _authors(text)
    return bool(names) and names != [text]


def _authors(text: str) -> list[str]:
    """The names on the line beneath a title; none unless every part of it looks like one."""
    names = [" ".join(name.split()) for name in re.split(r",|;|\band\b|&", _MARKS.sub(",", text))]
    names = [name for name in names if name]
    return names if all(map(_NAME.fullmatch, names)) else []
