"""Content identity: what makes two corpora the same."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping

from ingest_service import readers
from ingest_service.chunking import CHUNKER
from ingest_service.readers.document import ByteSource
from ingest_service.scan import Scan, SourceFile, Stamp, open_regular, suffix_of
from ingest_service.seen import SeenFiles
from rag_papers.persist.hashing import Canonical, digest
from rag_papers.persist.index_store import FORMAT, FileError
from rag_papers.retrieval.analysis import ANALYZER
from rag_papers.retrieval.encoders import Encoder
from rag_papers.retrieval.graph import GRAPH

_BLOCK = 1 << 20


class DigestingFile:
    """A file that knows the digest of the bytes that were read from it."""

    def __init__(self, file: ByteSource) -> None:
        self._file = file
        self._state = hashlib.blake2b(digest_size=32)
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        return self._count(self._file.read(size))

    def readline(self, size: int) -> bytes:
        """The rest of the line with its end, at most `size` bytes."""
        return self._count(self._file.readline(size))

    def digest(self) -> bytes:
        """BLAKE2b-256 of the whole file; reads what has not been read yet."""
        while self.read(_BLOCK):
            pass
        return self._state.digest()

    def _count(self, data: bytes) -> bytes:
        self._state.update(data)
        self.bytes_read += len(data)
        return data


def file_digests(scan: Scan, seen: SeenFiles, on_progress: Callable[[int], None]) -> dict[str, bytes]:
    """The digest of every readable file by its path; those that have been `seen` as they are need not be read.

    `on_progress` is told of how many files it is known.
    """
    digests: dict[str, bytes] = {}
    for number, source in enumerate(scan.files, start=1):
        digest = seen.digest(source.path, source.stamp) or _read(source, seen)
        if digest is not None:
            digests[source.path] = digest
        on_progress(number)
    return digests


def _read(source: SourceFile, seen: SeenFiles) -> bytes | None:
    begin = time.time_ns()
    try:
        with open_regular(source.location) as file:
            stamp = Stamp.of(os.fstat(file.fileno()))
            digest = DigestingFile(file).digest()
            if Stamp.of(os.fstat(file.fileno())) != stamp:  # it is read once more, and reported if it still changes
                return None
    except OSError:  # what cannot be read is reported when it is parsed
        return None
    seen.note(source.path, stamp, digest, begin)
    return digest


def corpus_id(
    scan: Scan,
    digests: Mapping[str, bytes],
    encoder: Encoder,
    max_file_bytes: int,
    *,
    graph: bool,
    unsettled: Iterable[FileError] = (),
) -> str:
    """16 hex digits: digest of the papers and of everything that shapes their index.

    Files that cannot be read count by name and reason, so that an index without them is another version than one with.
    So do the `unsettled`, of which the same bytes may be read another time. `graph` says whether the index has an
    approximate index of its vectors.
    """
    unread = [(error.path, error.reason) for error in (*scan.errors, *unsettled)]
    suffixes = {suffix_of(source.path) for source in scan.files}
    unread += [(source.path, "UNREADABLE") for source in scan.files if source.path not in digests]
    shape: dict[str, Canonical] = {"graph": GRAPH} if graph else {}
    return digest(
        shape
        | {
            "format": FORMAT,
            "sources": 1,
            "readers": [[suffix, readers.identity(suffix)] for suffix in sorted(suffixes)],
            "chunker": CHUNKER,
            "analyzer": ANALYZER,
            "model": encoder.identity,
            "dim": encoder.dim,
            "max_file_bytes": max_file_bytes,
            "files": [list(item) for item in sorted(digests.items())],
            "unread": [list(item) for item in sorted(unread)],
        }
    ).hex()[:16]
