"""Which files of a directory are papers."""

import dataclasses
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from ingest_service.readers import BY_LINE, SUFFIXES
from rag_papers.persist.index_store import FileError

BEIR_CORPUS = "corpus.jsonl"
"""The papers of a directory in BEIR layout; other .jsonl files beside it are its questions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stamp:
    """What the file system says of a file without its being read: writing to the file changes it."""

    device: int
    inode: int
    size: int
    """Bytes."""
    mtime_ns: int
    """When the content was changed last, as anyone may set it; nanoseconds since the epoch."""
    ctime_ns: int
    """When content, name or rights were changed last; nobody can set it."""

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The stamp in what `stat` returns."""
        return cls(
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file with a supported suffix."""

    path: str
    """Relative to the corpus directory, with slashes."""
    location: Path
    """Where it lies, links resolved."""
    stamp: Stamp
    """When it was found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """The files of a directory, in the order of their paths."""

    files: tuple[SourceFile, ...]
    skipped: int
    """Files passed over: no supported suffix, hidden, or questions of a BEIR directory."""
    errors: tuple[FileError, ...]
    """Files with a supported suffix that may not or cannot be read."""


def scan(root: Path, max_file_bytes: float = math.inf) -> Scan:
    """The papers below `root`, which must be resolved.

    Links that lead out of it, or to directories, are errors, and so are files that are too large to be read as a whole.
    """
    files: list[SourceFile] = []
    errors: list[FileError] = []
    skipped = 0

    def not_listed(error: OSError) -> None:
        path = _shown(Path(error.filename).relative_to(root).as_posix())
        errors.append(FileError(path=path, reason="UNREADABLE", message=f"the directory: {error.strerror}"))

    for relative, names, links in _walk(root, not_listed):
        papers = [name for name in names if _is_paper(name, names)]
        skipped += len(names) - len(papers)
        for name in (*papers, *links):
            found = _examine(root, (relative / name).as_posix(), max_file_bytes)
            (files if isinstance(found, SourceFile) else errors).append(found)  # type: ignore[arg-type]
    return Scan(
        files=tuple(sorted(files, key=lambda file: file.path)),
        skipped=skipped,
        errors=tuple(sorted(errors, key=lambda error: error.path)),
    )


def suffix_of(path: str) -> str:
    """The suffix that tells a file's format, in lower case."""
    return PurePosixPath(path).suffix.lower()


def has_papers(root: Path) -> bool:
    """Whether a file below `root` has a supported suffix."""
    return any(_is_paper(name, names) for _, names, _ in _walk(root) for name in names)


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading; never waits for a pipe and follows no link. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _walk(
    root: Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[PurePosixPath, list[str], list[str]]]:
    """Directories with the names of the files and of the links to directories in them; links are not followed."""
    for directory, directories, names in os.walk(root, onerror=on_error):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        links = [name for name in directories if (Path(directory) / name).is_symlink()]
        yield PurePosixPath(Path(directory).relative_to(root)), sorted(names), links


def _is_paper(name: str, siblings: list[str]) -> bool:
    suffix = suffix_of(name)
    if name.startswith(".") or suffix not in SUFFIXES:
        return False
    return suffix != ".jsonl" or name == BEIR_CORPUS or BEIR_CORPUS not in siblings


def _examine(root: Path, path: str, max_file_bytes: float) -> SourceFile | FileError:
    try:
        path.encode()
    except UnicodeEncodeError:
        return FileError(path=_shown(path), reason="UNREADABLE", message="its name is not UTF-8")
    try:
        location = (root / path).resolve(strict=True)
        status = location.stat()
    except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
        return FileError(path=path, reason="UNREADABLE", message="it cannot be reached")
    if not location.is_relative_to(root):
        return FileError(path=path, reason="OUTSIDE_ROOT", message="it is a link that leads out of the directory")
    if stat.S_ISDIR(status.st_mode):
        return FileError(path=path, reason="NOT_A_FILE", message="it is a link to a directory, which is not followed")
    if not stat.S_ISREG(status.st_mode):
        return FileError(path=path, reason="NOT_A_FILE", message="it is not a regular file")
    if status.st_size > max_file_bytes and suffix_of(path) not in BY_LINE:
        return FileError(path=path, reason="TOO_LARGE", message=f"it has more than {max_file_bytes} bytes")
    return SourceFile(path=path, location=location, stamp=Stamp.of(status))


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
