"""What readers produce, and how they are called."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Protocol

from ingest_service.readers.bibliography import UNKNOWN, Bibliography
from rag_papers.persist.index_store import FileError

_TEXT = re.compile(r"[^\s\ufeff]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A stretch of a document's text, in characters, end exclusive, and the headings above it."""

    heading: str
    """Joined by " > "; empty if there are none."""
    start: int
    end: int


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


def read_text(path: str, file: ByteSource, limit: int) -> str | FileError:
    """The whole file as UTF-8."""
    data = file.read(limit + 1)
    if len(data) > limit:
        return FileError(path=path, reason="TOO_LARGE", message=f"it has more than {limit} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        return FileError(path=path, reason="NOT_UTF8", message=f"byte {error.start} is not UTF-8")


def has_text(text: str, start: int = 0, end: int | None = None) -> bool:
    """Whether there is more than white space and byte order marks in `text[start:end]`."""
    return _TEXT.search(text, start, len(text) if end is None else end) is not None


def no_text(path: str) -> FileError:
    """The error of a file or line without any text."""
    return FileError(path=path, reason="NO_TEXT", message="it holds no text")
