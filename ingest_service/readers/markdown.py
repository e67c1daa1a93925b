"""Markdown: the first top heading is the title, the headings above a stretch of text are its section.

A title in the front matter goes before that; then top headings are sections like any other.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ingest_service.readers import front_matter
from ingest_service.readers.bibliography import bibliography, line
from ingest_service.readers.document import (
    ByteSource,
    Document,
    Headings,
    Section,
    has_text,
    no_text,
    read_text,
    reading_noted,
)
from rag_papers.persist.index_store import FileError

_LINE = re.compile(r"[^\n]*\n?")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """The file as one document; ATX headings (CommonMark 4.2) outside fenced code divide it into sections."""
    decoded = read_text(path, file, limit)
    if isinstance(decoded, FileError):
        yield decoded
        return
    if decoded.guessed:
        yield reading_noted(path, decoded.guessed)
    text = decoded.text
    fields, body = front_matter.split(text)
    title, sections = _sections(text, body, line(fields.get("title")))
    if sections:
        yield Document(
            document_id=path,
            place=path,
            title=title or PurePosixPath(path).stem,
            text=text,
            sections=sections,
            bibliography=bibliography(fields),
        )
    else:
        yield no_text(path)


def _sections(text: str, body: int, title: str) -> tuple[str, tuple[Section, ...]]:
    above = Headings()
    found: list[Section] = []
    start, fence = body, ""

    def close(end: int) -> None:
        if has_text(text, start, end):
            found.append(Section(heading=above.joined(), start=start, end=end))

    for row in _LINE.finditer(text, body):
        content = row.group().removesuffix("\n").removeprefix("\ufeff")
        if mark := _FENCE.match(content):
            # The end of fenced code is a fence of the same mark, at least as long, that says nothing more.
            closes = fence and mark[1].startswith(fence) and not mark[2].strip()
            fence = "" if closes else fence or mark[1]
        heading = None if fence else _HEADING.match(content)
        if heading is None:
            continue
        close(row.start())
        start, level, name = row.end(), len(heading[1]), _without_closing_marks(heading[2])
        if level == 1 and title in ("", name) and not found:
            title = name
        else:
            above.add(level, name)
    close(len(text))
    return title, tuple(found)


def _without_closing_marks(heading: str) -> str:
    # By hand: what a regular expression takes for this grows with the square of the spaces in a line.
    heading = heading.rstrip(" \t\r")
    name = heading.rstrip("#")
    return name.rstrip(" \t") if not name or name[-1] in " \t" else heading
