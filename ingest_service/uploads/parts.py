"""What an upload consists of, and what comes of it."""

import dataclasses
import enum
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The beginning of an upload."""

    corpus: str
    replace_all: bool
    """Whether earlier files of the corpus are deleted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """The header of a file, as sent or checked."""

    path: str
    """Relative to the corpus's directory, with slashes."""
    size: int
    """Bytes."""
    sha256: str
    """Hex."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """The next bytes of the file."""

    data: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """The upload is complete."""


Part = Start | File | Chunk | End
"""What one message brings."""


class Effect(enum.Enum):
    """What storing a file changed."""

    NEW = enum.auto()
    REPLACED = enum.auto()
    UNCHANGED = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a complete upload."""

    file: File
    effect: Effect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """A complete upload."""

    corpus: str
    directory: Path
    """Of the corpus, absolute."""
    files: tuple[StoredFile, ...]
    """In the order in which they came."""
    deleted: int
    """Earlier files that are gone."""
