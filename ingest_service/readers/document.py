"""What readers produce, and how they are called."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Protocol

from ingest_service.readers.bibliography import UNKNOWN, Bibliography
from ingest_service.readers.encoding import Decoded, decode
from rag_papers.persist.index_store import FileError

LONGEST_NAME = 500
"""Characters of a title, of the headings above a section together, and of the id of a document."""

_TEXT = re.compile(r"[^\s\ufeff]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A stretch of a document's text, in characters, end exclusive, and the headings above it."""

    heading: str
    """Joined by " > "; empty if there are none."""
    start: int
    end: int


class Headings:
    """The headings above a stretch of text."""

    def __init__(self) -> None:
        self._above: list[tuple[int, str]] = []

    def add(self, level: int, text: str) -> None:
        """Begins what stands under `text`, inside those of lower `level`."""
        self._above = [*(item for item in self._above if item[0] < level), (level, shortened(text))]

    def texts(self) -> list[str]:
        """All of them, the outermost first."""
        return [text for _, text in self._above]

    def joined(self) -> str:
        """As `Section` has them."""
        return shortened(" > ".join(self.texts()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageStart:
    """Where a page begins in a document's text, in characters."""

    start: int
    page: int
    """From 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A paper."""

    document_id: str
    place: str
    """Path of its file, relative; for a line of a file, path and line number: "corpus.jsonl:17"."""
    title: str
    text: str
    """The extracted text; citations point into its UTF-8 bytes."""
    sections: tuple[Section, ...]
    """In order, not overlapping; what lies between them is headings and front matter."""
    bibliography: Bibliography = UNKNOWN
    pages: tuple[PageStart, ...] = ()
    """In the order of the text, which may leave a page and come back to it; empty if the format has no pages."""


class ByteSource(Protocol):
    """What a reader needs of a file."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""

    def readline(self, size: int) -> bytes:
        """The rest of the line with its end, at most `size` bytes."""


class Reader(Protocol):
    """Reads one file."""

    def __call__(self, path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
        """The documents of the file at `path` (relative), and what is wrong with parts of it.

        Nothing larger than `limit` bytes, a file or a line as the format has it, is read at once.
        """


def shortened(name: str) -> str:
    """A title or headings as every passage carries them: without end, they would swell the index beyond all measure."""
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME].rstrip() + "…"


def read_bytes(path: str, file: ByteSource, limit: int) -> bytes | FileError:
    """The whole file."""
    data = file.read(limit + 1)
    if len(data) > limit:
        return FileError(path=path, reason="TOO_LARGE", message=f"it has more than {limit} bytes")
    return data


def not_decoded(path: str, data: bytes) -> FileError:
    """The error of a file whose encoding nobody can tell."""
    try:
        data.decode("utf-8")
        place = 0
    except UnicodeDecodeError as error:
        place = error.start
    message = f"byte {place} is not UTF-8, and no other encoding is certain"
    return FileError(path=path, reason="NOT_UTF8", message=message)


def reading_noted(path: str, encoding: str) -> FileError:
    """A note, no error, that a file was read and in which encoding, which it does not say itself."""
    return FileError(path=path, reason="ENCODING_GUESSED", message=f"it was read as {encoding}, which it does not say")


def read_text(path: str, file: ByteSource, limit: int) -> Decoded | FileError:
    """The whole file as text."""
    data = read_bytes(path, file, limit)
    if isinstance(data, FileError):
        return data
    return decode(data) or not_decoded(path, data)


def has_text(text: str, start: int = 0, end: int | None = None) -> bool:
    """Whether there is more than white space and byte order marks in `text[start:end]`."""
    return _TEXT.search(text, start, len(text) if end is None else end) is not None


def no_text(path: str, message: str = "it holds no text") -> FileError:
    """The error of a file or line without any text."""
    return FileError(path=path, reason="NO_TEXT", message=message)
