"""What an earlier version of a corpus knows of files and documents that have not changed.

Everything is taken from the files of a published index, once their SHA-256 agree with its manifest. It is taken only
where all that shapes it is the same, so that it is, byte for byte, what reading the papers again would give.
"""

import json
import mmap
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest_service import readers
from ingest_service.chunking import CHUNKER
from ingest_service.parsing import UNSETTLED
from ingest_service.readers import BY_LINE
from ingest_service.scan import Scan, suffix_of
from ingest_service.task import Task
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import (
    DOCUMENT_DIGESTS,
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    SOURCES,
    VECTORS,
    DocumentRecord,
    FileError,
    SourceRecord,
    read_documents,
    read_failures,
    read_sources,
    verify,
)
from rag_papers.retrieval.encoders import Encoder

_NOT_REPEATED = UNSETTLED | {"DUPLICATE_ID"}
"""Failures that depend on more than the file."""

_LINE = re.compile(r"(.*):\d+", re.DOTALL)


class Previous:
    """A published index that has the sources it was made from. Its files stay readable when it is deleted."""

    def __init__(self, directory: Path, limit: int) -> None:
        """`limit`: most bytes of a file, or a line. Raises IndexNotFound, IndexDamaged or FormatUnsupported."""
        verify(directory, (SOURCES, DOCUMENTS, DOCUMENT_DIGESTS, FAILURES, PASSAGES, PASSAGE_OFFSETS, VECTORS))
        self._sources = {source.path: source for source in read_sources(directory) if source.limit_bytes == limit}
        self._failures: defaultdict[str, list[FileError]] = defaultdict(list)
        for failure in read_failures(directory):
            line = _LINE.fullmatch(failure.path)
            self._failures[line[1] if line and line[1] in self._sources else failure.path].append(failure)
        self._passages = _mapped(directory / PASSAGES)
        self._offsets = np.load(directory / PASSAGE_OFFSETS, mmap_mode="r")
        self.vectors: npt.NDArray[np.float32] = np.load(directory / VECTORS, mmap_mode="r")
        """Those of its passages, (n, dim)."""
        self._lines = _mapped(directory / DOCUMENTS)
        self._digests = np.load(directory / DOCUMENT_DIGESTS, mmap_mode="r")
        self._rows: dict[str, range] = {}
        self._starts = array("q", [0])
        self._first_passages = array("q", [0])
        for row, document in enumerate(read_documents(directory)):
            begin = self._rows[document.path].start if document.path in self._rows else row
            self._rows[document.path] = range(begin, row + 1)
            self._starts.append(self._lines.find(b"\n", self._starts[-1]) + 1)
            self._first_passages.append(document.first_passage + document.passage_count)
        self._by_digest: tuple[str, dict[bytes, int]] = ("", {})

    def has(self, path: str, digest: bytes) -> bool:
        """Whether `file` and `failures` tell all that would come of reading a file with these bytes."""
        source = self._sources.get(path)
        if source is None or source.digest != digest.hex() or source.reader != readers.identity(suffix_of(path)):
            return False
        failures = self._failures.get(path, [])
        return (
            len(self._rows.get(path, ())) == source.document_count
            and len(failures) == source.failure_count
            and all(failure.reason not in _NOT_REPEATED for failure in failures)
        )

    def failures(self, path: str) -> list[FileError]:
        """What was said of a file."""
        return self._failures.get(path, [])

    def rows(self, path: str) -> range:
        """The documents of a file by their numbers."""
        return self._rows.get(path, range(0))

    def document(self, row: int) -> DocumentRecord:
        """A document."""
        return DocumentRecord(**json.loads(self._lines[self._starts[row] : self._starts[row + 1]]))

    def digest(self, row: int) -> bytes:
        """The digest of a document."""
        return bytes(self._digests[row])

    def find(self, path: str, digest: bytes) -> int | None:
        """The document of a file whose digest is `digest`, if the file was read by the present reader."""
        if self._by_digest[0] != path:
            source = self._sources.get(path)
            same = source is not None and source.reader == readers.identity(suffix_of(path))
            self._by_digest = (path, {self.digest(row): row for row in self.rows(path)} if same else {})
        return self._by_digest[1].get(digest)

    def passages(self, row: int) -> tuple[int, list[bytes]]:
        """The number of a document's first passage, and the lines of all of them."""
        first, end = self._first_passages[row], self._first_passages[row + 1]
        offsets = self._offsets[first : end + 1].tolist()
        lines = [self._passages[begin:stop] for begin, stop in pairwise(offsets)]
        return first, lines


def previous_version(task: Task, found: Scan, digests: Mapping[str, bytes], encoder: Encoder) -> Previous | None:
    """The published version that most can be taken from, if there is one.

    It is looked for among those of the corpus, and then, as its directory may have got another name, among the others.
    """
    best, most = None, 0
    for index in _candidates(task):
        try:
            manifest = verify(index, [SOURCES])
            if (manifest.model_identity, manifest.chunker) != (encoder.identity, CHUNKER):
                continue
            known = {source.path: source for source in read_sources(index)}
        except (IndexNotFound, IndexDamaged, FormatUnsupported):
            continue
        size = sum(_worth(known.get(file.path), digests.get(file.path)) * file.stamp.size for file in found.files)
        if size > most:
            best, most = index, size
    try:
        return Previous(best, task.max_file_bytes) if best else None
    except (IndexNotFound, IndexDamaged, FormatUnsupported):
        return None


def _candidates(task: Task) -> Iterator[Path]:
    corpora = Corpora(Path(task.corpora)).all()
    own = corpora.pop(task.corpus, None)
    versions = own.versions() if own else [corpus.active for corpus in corpora.values()]
    return (Path(task.indexes) / version.corpus_id for version in versions)


def _worth(source: SourceRecord | None, digest: bytes | None) -> int:
    """Of a file of many documents some may be the same where it is not."""
    if source is None:
        return 0
    if digest is not None and source.digest == digest.hex():
        return 2
    return 1 if suffix_of(source.path) in BY_LINE else 0


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
