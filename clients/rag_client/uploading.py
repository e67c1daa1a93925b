"""Files of this machine as the messages of an upload."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rag_papers.errors import InvalidRequest, UploadBroken
from rag_papers.v1 import ingest_pb2

SUFFIXES = (".pdf", ".html", ".htm", ".xml", ".txt", ".md", ".jsonl")
"""Of the files that are taken from a directory. What a file that is named by itself may be, the service decides."""

BEIR_CORPUS = "corpus.jsonl"
"""The papers of a directory in BEIR layout; other .jsonl files beside it are its questions."""

CHUNK_BYTES = 1 << 20
"""Most bytes of a file in one message, as the contract has it."""

Progress = Callable[[int, int], None]
"""Gets the bytes that have been sent so far, and those of all files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file to send."""

    path: str
    """What it is called below the corpus's directory, with slashes."""
    location: Path
    """Where it lies here."""
    size: int
    """Bytes, when it was found."""


def gather(paths: Iterable[str | os.PathLike[str]]) -> list[LocalFile]:
    """The files that `paths` name: a file under its name, a directory's papers under their paths below it.

    Raises InvalidRequest, which names every path that does not exist or holds nothing to send.
    """
    found: list[LocalFile] = []
    problems: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            papers = list(_papers(path))
            found += papers
            if not papers:
                problems.append(f"{path} holds no papers: no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
        elif path.is_file():
            found.append(_local(path.name, path))
        else:
            problems.append(f"there is no file or directory {path}")
    if not found and not problems:
        problems.append("none given")
    if problems:
        raise InvalidRequest(violations={"files": "; ".join(problems)})
    return found


def _papers(root: Path) -> Iterator[LocalFile]:
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or suffix not in SUFFIXES:
                continue
            if suffix == ".jsonl" and name != BEIR_CORPUS and BEIR_CORPUS in names:
                continue
            location = Path(directory) / name
            if location.is_file():
                yield _local(location.relative_to(root).as_posix(), location)


def _local(path: str, location: Path) -> LocalFile:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(violations={"files": f"the name of {os.fsencode(location)!r} is not UTF-8"}) from None
    return LocalFile(path=path, location=location, size=location.stat().st_size)


class Upload:
    """The messages of one upload, made as they are sent.

    A file that cannot be read, or changes meanwhile, ends them before the last one, so that the service stores nothing;
    `error` then says what happened.
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str]],
        corpus: str,
        replace_all: bool | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._files = gather(files)
        try:
            self._start = ingest_pb2.UploadStart(corpus=corpus, replace_all=replace_all)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        self._on_progress = on_progress
        self.error: Exception | None = None

    def messages(self) -> Iterator[ingest_pb2.UploadDocumentsRequest]:
        """The messages, in their order."""
        try:
            yield from self._messages()
        except OSError as error:
            self.error = UploadBroken(f"{error.filename}: {error.strerror}")
        except Exception as error:
            self.error = error

    def _messages(self) -> Iterator[ingest_pb2.UploadDocumentsRequest]:
        total = sum(file.size for file in self._files)
        sent = 0
        yield ingest_pb2.UploadDocumentsRequest(start=self._start)
        for file in self._files:
            with file.location.open("rb") as opened:
                # Read twice: the service shall know what is to come before it comes.
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
                if opened.tell() != file.size:
                    raise UploadBroken(f"{file.location} changes while it is uploaded", path=file.path)
                opened.seek(0)
                yield ingest_pb2.UploadDocumentsRequest(
                    file=ingest_pb2.UploadFile(path=file.path, size_bytes=file.size, sha256=sha256)
                )
                while data := opened.read(CHUNK_BYTES):
                    yield ingest_pb2.UploadDocumentsRequest(chunk=data)
                    sent += len(data)
                    if self._on_progress:
                        self._on_progress(sent, total)
        yield ingest_pb2.UploadDocumentsRequest(end=ingest_pb2.UploadEnd())
