"""The lines of an index: passages, documents, and what was left out."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rag_papers.persist.index_store.files import DOCUMENTS, FAILURES, SOURCES, damaged, missing

_Record = TypeVar("_Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassageRecord:
    """A passage as stored: a line of passages.jsonl."""

    passage_id: str
    document_id: str
    title: str
    path: str
    section: str
    first_page: int
    last_page: int
    start_byte: int
    end_byte: int
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DocumentRecord:
    """A document as stored: a line of documents.jsonl."""

    document_id: str
    path: str
    title: str
    year: int
    """Of publication, up to 9999; 0: unknown."""
    authors: tuple[str, ...]
    """Empty: unknown."""
    doi: str
    """Empty: unknown."""
    size_bytes: int
    """Size of the extracted text in UTF-8, bytes."""
    first_passage: int
    """Position of its first passage; the others follow."""
    passage_count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "authors", tuple(self.authors))  # JSON has lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileError:
    """A file, or a line of a BEIR file ("corpus.jsonl:17"), that could not be ingested: a line of failures.jsonl."""

    path: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """A file that was read, with all that shapes what its reader makes of it: a line of sources.jsonl."""

    path: str
    """Relative, with slashes."""
    digest: str
    """BLAKE2b-256 of its bytes, 64 lower-case hex digits."""
    reader: str
    """The reader and its libraries."""
    limit_bytes: int
    """Most bytes that it may have, or a line of it."""
    document_count: int
    failure_count: int
    """How many lines of failures.jsonl are about it."""


def line_of(record: Any) -> bytes:
    """The line of a dataclass."""
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_sources(directory: Path) -> Iterator[SourceRecord]:
    """The files that an index was made from, in path order. Raises IndexNotFound, IndexDamaged."""
    return _read_lines(directory / SOURCES, SourceRecord)


def read_failures(directory: Path) -> list[FileError]:
    """The files and lines that were left out of an index, in path order. Raises IndexNotFound, IndexDamaged."""
    return list(_read_lines(directory / FAILURES, FileError))


def read_documents(directory: Path) -> Iterator[DocumentRecord]:
    """The documents of a published index, in the order of their passages. Raises IndexNotFound, IndexDamaged."""
    return _read_lines(directory / DOCUMENTS, DocumentRecord)


def _read_lines(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    try:
        with path.open("rb") as file:
            yield from parsed(file, path, kind)
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise damaged(path, str(error)) from error


def parsed(lines: Iterable[bytes], path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """The records of the JSON lines of the file `path`. Raises IndexDamaged."""
    for number, line in enumerate(lines, start=1):
        try:
            yield kind(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise damaged(path, f"line {number}: {error}") from error
