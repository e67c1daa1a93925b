"""Index directories: built in a staging directory, verified, published by a rename, opened without reading them whole.

The manifest `meta.json` is written last and names every other file with its size and SHA-256. It holds no clock times,
so that equal input gives equal bytes.
"""

import contextlib
import dataclasses
import errno
import json
import mmap
import secrets
import shutil
import threading
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from rag_papers.errors import DiskFull, FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.files import fsync_directory, fsync_file, write_atomic
from rag_papers.persist.hashing import file_sha256
from rag_papers.retrieval.bm25 import Bm25, Postings
from rag_papers.retrieval.filtering import Documents, Filter

_Record = TypeVar("_Record")

FORMAT = 1
"""Version of the directory's layout."""
FEATURES: frozenset[str] = frozenset()
"""Features that this reader understands; an index that needs another one is refused."""

MANIFEST = "meta.json"
DOCUMENTS = "documents.jsonl"
PASSAGES = "passages.jsonl"
PASSAGE_OFFSETS = "passages.offsets.npy"
FAILURES = "failures.jsonl"
VECTORS = "vectors.npy"

_POSTINGS_TYPES = {
    "hashes": "<u8",
    "terms": "|u1",
    "term_offsets": "<i8",
    "offsets": "<i8",
    "passages": "<i4",
    "scores": "<f4",
}


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
    size_bytes: int
    """Size of the extracted text in UTF-8, bytes."""
    first_passage: int
    """Position of its first passage; the others follow."""
    passage_count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileError:
    """A file, or a line of a BEIR file ("corpus.jsonl:17"), that could not be ingested: a line of failures.jsonl."""

    path: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """meta.json."""

    corpus_id: str
    document_count: int
    passage_count: int
    dim: int
    model_name: str
    model_identity: str
    analyzer: str
    chunker: str
    files: Mapping[str, Mapping[str, Any]]
    """By name: {"size": bytes, "sha256": lower-case hex}."""
    format: int = FORMAT
    features: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file["size"] for file in self.files.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """A published version as callers see it."""

    corpus_id: str
    corpus: str
    active: bool
    document_count: int
    passage_count: int
    dim: int
    model_name: str
    model_identity: str
    size_bytes: int
    create_time: float
    """When it was published to the corpus, seconds since the epoch."""
    checksums: Mapping[str, str]
    """SHA-256 by file name."""

    @classmethod
    def of(cls, manifest: Manifest, *, corpus: str, active: bool, create_time: float) -> Self:
        """The version of `corpus` that `manifest` describes."""
        return cls(
            corpus_id=manifest.corpus_id,
            corpus=corpus,
            active=active,
            document_count=manifest.document_count,
            passage_count=manifest.passage_count,
            dim=manifest.dim,
            model_name=manifest.model_name,
            model_identity=manifest.model_identity,
            size_bytes=manifest.size_bytes,
            create_time=create_time,
            checksums={name: file["sha256"] for name, file in manifest.files.items()},
        )


class IndexBuilder:
    """Writes an index into a staging directory, which it empties first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)

    def write_lines(self, name: str, records: Iterable[Any]) -> npt.NDArray[np.int64]:
        """Writes dataclasses as JSON lines; returns where each begins, and the end: (n + 1,) bytes."""
        offsets = [0]
        with (self.directory / name).open("wb") as file:
            for record in records:
                line = json.dumps(dataclasses.asdict(record), ensure_ascii=False, separators=(",", ":")).encode()
                offsets.append(offsets[-1] + file.write(line + b"\n"))
        return np.array(offsets, np.int64)

    def passages(self) -> Iterator[PassageRecord]:
        """The passages written so far, in order."""
        with (self.directory / PASSAGES).open("rb") as file:
            for line in file:
                yield PassageRecord(**json.loads(line))

    def write_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Writes an array of numbers."""
        np.save(self.directory / name, array, allow_pickle=False)

    def write_postings(self, postings: Postings) -> None:
        """Writes the arrays of a BM25 index."""
        for field in dataclasses.fields(postings):
            self.write_array(_postings_file(field.name), getattr(postings, field.name))

    def create_vectors(self, count: int, dim: int) -> npt.NDArray[np.float32]:
        """A mapped float32 (count, dim) array to fill in; what is put into it is in the file."""
        return np.lib.format.open_memmap(self.directory / VECTORS, "w+", np.float32, (count, dim))

    def finish(self, **fields: Any) -> Manifest:
        """Forces every file to the device, reads it back for its digest, and writes the manifest."""
        files: dict[str, dict[str, Any]] = {}
        for path in sorted(self.directory.iterdir()):
            fsync_file(path)
            files[path.name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
        manifest = Manifest(files=files, **fields)
        document = json.dumps(dataclasses.asdict(manifest), ensure_ascii=False, indent=1, sort_keys=True)
        write_atomic(self.directory / MANIFEST, document.encode() + b"\n")
        return manifest


class OpenIndex:
    """A published index, memory-mapped. Immutable; share it freely between threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)
        for name, facts in self.manifest.files.items():
            _check_size(directory / name, facts["size"])
        self.bm25 = Bm25(
            Postings(**{name: self._array(_postings_file(name), dtype) for name, dtype in _POSTINGS_TYPES.items()}),
            self.manifest.passage_count,
        )
        self.vectors: npt.NDArray[np.float32] = self._array(VECTORS, "<f4")
        self._offsets = self._array(PASSAGE_OFFSETS, "<i8")
        if self.vectors.shape != (self.manifest.passage_count, self.manifest.dim):
            raise _damaged(directory / VECTORS, f"its shape is {self.vectors.shape}")
        if self._offsets.shape != (self.manifest.passage_count + 1,):
            raise _damaged(directory / PASSAGE_OFFSETS, f"its shape is {self._offsets.shape}")
        self._passages = self._mapped(PASSAGES)
        # Mapped now, so that they are those of this index whatever becomes of the file, and read when first needed.
        self._document_lines = self._mapped(DOCUMENTS)
        self._documents: Documents | None = None
        self._reading_documents = threading.Lock()

    @property
    def corpus_id(self) -> str:
        """The version."""
        return self.manifest.corpus_id

    def passage(self, position: int) -> PassageRecord:
        """The passage at `position`, in [0, passage_count)."""
        line = self._passages[self._offsets[position] : self._offsets[position + 1]]
        try:
            return PassageRecord(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise _damaged(self.directory / PASSAGES, f"line {position + 1}: {error}") from error

    def positions(self, wanted: Filter) -> npt.NDArray[np.int64]:
        """Where the passages are that qualify, ascending. Raises IndexDamaged.

        The first call reads the documents, whose number it depends on; none reads a passage.
        """
        with self._reading_documents:
            if self._documents is None:
                self._documents = self._read_documents()
        return self._documents.positions(wanted)

    def _read_documents(self) -> Documents:
        path = self.directory / DOCUMENTS
        self._document_lines.seek(0)
        records = list(_parsed(iter(self._document_lines.readline, b""), path, DocumentRecord))
        passages = 0
        for number, record in enumerate(records, start=1):
            if not (isinstance(record.document_id, str) and isinstance(record.path, str)):
                raise _damaged(path, f"line {number}: an id or a path is no text")
            if (
                not isinstance(record.passage_count, int)
                or record.passage_count < 0
                or record.first_passage != passages
            ):
                raise _damaged(path, f"line {number}: its passages do not follow those of the line before")
            passages += record.passage_count
        if (len(records), passages) != (self.manifest.document_count, self.manifest.passage_count):
            raise _damaged(path, f"it has {len(records)} documents with {passages} passages")
        return Documents(
            ids=[record.document_id for record in records],
            paths=[record.path for record in records],
            passage_counts=[record.passage_count for record in records],
        )

    def _mapped(self, name: str) -> mmap.mmap:
        path = self.directory / name
        try:
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise _missing(path) from None
        except (OSError, ValueError) as error:  # ValueError: it is empty
            raise _damaged(path, str(error)) from error

    def _array(self, name: str, dtype: str) -> Any:
        path = self.directory / name
        try:
            # open_memmap reads the .npy format alone; np.load would also try other formats.
            array = np.lib.format.open_memmap(path, "r")
            size = path.stat().st_size
        except FileNotFoundError:
            raise _missing(path) from None
        except (ValueError, OSError, SyntaxError, tokenize.TokenError) as error:
            raise _damaged(path, str(error)) from error
        if array.dtype != dtype or not array.flags.c_contiguous or array.offset + array.nbytes != size:
            raise _damaged(path, f"its header says {array.dtype} of shape {array.shape}")
        return np.asarray(array)  # a plain view: slices of a memmap cost ten times as much


def read_manifest(directory: Path, corpus_id: str = "") -> Manifest:
    """The manifest of an index, which is named after its directory unless `corpus_id` says otherwise.

    Raises IndexNotFound, IndexDamaged or FormatUnsupported.
    """
    path = directory / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict):
        raise _damaged(path, "it is no JSON object")
    features = document.get("features", [])
    if not isinstance(features, list):
        raise _damaged(path, "its features are no list")
    unknown = {str(feature) for feature in features} - FEATURES
    if document.get("format") != FORMAT or unknown:
        raise FormatUnsupported(
            f"index {directory.name} has format {document.get('format')} with features "
            f"{sorted(unknown)}; this version reads format {FORMAT}: ingest the corpus again",
            corpus_id=directory.name,
        )
    try:
        manifest = Manifest(**document | {"features": tuple(features)})
        facts = [(file["size"], file["sha256"]) for file in manifest.files.values()]
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not all(isinstance(size, int) and isinstance(sha256, str) for size, sha256 in facts):
        raise _damaged(path, "a size is no number or a digest no text")
    if missing := _FILES - manifest.files.keys():
        raise _damaged(path, f"it does not name {', '.join(sorted(missing))}")
    if manifest.corpus_id != (corpus_id or directory.name):
        raise _damaged(path, f"it belongs to index {manifest.corpus_id}")
    return manifest


def read_failures(directory: Path) -> list[FileError]:
    """The files and lines that were left out of an index, in path order. Raises IndexNotFound, IndexDamaged."""
    return list(_read_lines(directory / FAILURES, FileError))


def read_documents(directory: Path) -> Iterator[DocumentRecord]:
    """The documents of a published index, in the order of their passages. Raises IndexNotFound, IndexDamaged."""
    return _read_lines(directory / DOCUMENTS, DocumentRecord)


def _read_lines(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    try:
        with path.open("rb") as file:
            yield from _parsed(file, path, kind)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _damaged(path, str(error)) from error


def _parsed(lines: Iterable[bytes], path: Path, kind: type[_Record]) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        try:
            yield kind(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise _damaged(path, f"line {number}: {error}") from error


def verify(directory: Path) -> Manifest:
    """Reads every file of a published index and compares it with the manifest. Raises as `read_manifest` does."""
    manifest = read_manifest(directory)
    for name, file in manifest.files.items():
        _check_size(directory / name, file["size"])
        try:
            digest = file_sha256(directory / name)
        except FileNotFoundError:  # deleted this very moment
            raise _missing(directory / name) from None
        if digest != file["sha256"]:
            raise _damaged(directory / name, "its SHA-256 differs from the manifest's")
    return manifest


def publish(staging: Path, indexes: Path, manifest: Manifest) -> None:
    """Moves a finished index from `staging` to its place among `indexes`.

    An intact index of the same corpus_id stays, and the staged one is dropped: they hold the same. A damaged one is
    replaced; readers that have it open keep their files.
    """
    target = indexes / manifest.corpus_id
    try:
        verify(target)
    except IndexNotFound:
        staging.rename(target)
    except (IndexDamaged, FormatUnsupported):
        broken = staging.with_name(f"{staging.name}.replaced")
        target.rename(broken)
        staging.rename(target)
        shutil.rmtree(broken)
    else:
        shutil.rmtree(staging)
    fsync_directory(indexes)


def remove(index: Path, staging: Path) -> int:
    """Removes an index directory and returns the bytes that it held; readers that have it open keep their files.

    It leaves its name for `staging` first, so that a crash leaves no half index under the name.
    """
    doomed = staging / f"{index.name}.{secrets.token_hex(4)}.removed"
    index.rename(doomed)
    fsync_directory(index.parent)
    held = sum(path.lstat().st_size for path in doomed.iterdir())
    shutil.rmtree(doomed)
    return held


@contextlib.contextmanager
def disk_full_is_an_error_of_ours() -> Iterator[None]:
    """Turns the operating system's "no space left" into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"no space left for {error.filename or 'the index'}: free some, then try again") from error
        raise


def _postings_file(field: str) -> str:
    return f"bm25.{field}.npy"


_FILES = {DOCUMENTS, PASSAGES, PASSAGE_OFFSETS, FAILURES, VECTORS, *map(_postings_file, _POSTINGS_TYPES)}


def _check_size(path: Path, size: int) -> None:
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        raise _missing(path) from None
    if actual != size:
        raise _damaged(path, f"it has {actual} bytes instead of {size}")


def _missing(path: Path) -> IndexDamaged | IndexNotFound:
    directory = path.parent
    if directory.is_dir():
        return _damaged(path, "it is missing")
    return IndexNotFound(f"there is no index {directory.name}", corpus_id=directory.name)


def _damaged(path: Path, why: str) -> IndexDamaged:
    return IndexDamaged(
        f"{path.name} of index {path.parent.name} is damaged: {why}; ingest the corpus again",
        file=path.name,
        corpus_id=path.parent.name,
    )
