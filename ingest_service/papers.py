"""Reading: files to documents and their passages, those that have not changed taken from an earlier version."""

import dataclasses
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from ingest_service import readers
from ingest_service.changes import Changes
from ingest_service.chunking import chunk
from ingest_service.failures import MAX_FILE_ERRORS, check_failed
from ingest_service.identity import DigestingFile
from ingest_service.parsing import UNSETTLED, Parser
from ingest_service.previous import Previous
from ingest_service.readers import BY_LINE, READERS
from ingest_service.readers.document import ByteSource, Document, shortened
from ingest_service.scan import Scan, SourceFile, Stamp, open_regular, suffix_of
from ingest_service.seen import SeenFiles
from ingest_service.task import Report, Task
from rag_papers.persist.index_store import DocumentRecord, FileError, SourceRecord, line_of
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval.encoders import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """A document as the index has it."""

    record: DocumentRecord
    digest: bytes
    """16 bytes: of all that its passages are made of, but for the path."""
    lines: Sequence[bytes]
    """Its passages as lines of passages.jsonl."""
    origin: int | None
    """The number of its first passage in the earlier version that they are taken from; the others follow."""


class Papers:
    """Reads the files once, and remembers what the index needs besides their documents."""

    def __init__(
        self,
        task: Task,
        found: Scan,
        encoder: Encoder,
        parser: Parser,
        report: Report,
        *,
        seen: SeenFiles,
        changes: Changes,
        digests: Mapping[str, bytes],
        previous: Previous | None,
    ) -> None:
        """`digests` are those of files as far as they are known: what `previous` has of such a file is not read."""
        self._found, self._encoder, self._parser, self._report = found, encoder, parser, report
        self._seen, self._changes, self._known, self._previous = seen, changes, digests, previous
        self._max_failed_files = task.max_failed_files
        self._limit = task.max_file_bytes
        (prompt,) = encoder.count_tokens([encoder.prompts.passage])
        self._max_tokens = encoder.max_tokens - prompt
        self._bytes_total = sum(source.stamp.size for source in found.files) or 1
        self.errors: list[FileError] = list(found.errors)
        self.unsettled: list[FileError] = []
        self.digests: dict[str, bytes] = {}
        self.sources: list[SourceRecord] = []
        """The files that were read and did not change meanwhile."""
        self.count = 0
        """Documents so far."""
        self._changing: set[str] = set()
        self._ids: set[str] = set()
        self._passages = self._bytes_done = self._files_done = 0
        self._files_failed = len(found.errors)

    def read(self) -> Iterator[Paper]:
        """Every document with text, in the order of path and place."""
        for source in self._found.files:
            before, errors = self.count, len(self.errors)
            try:
                yield from self._taken(source) if self._can_be_taken(source) else self._opened(source)
            except OSError as error:
                self.errors.append(
                    FileError(path=source.path, reason="UNREADABLE", message=error.strerror or str(error))
                )
            digest = self.digests.get(source.path)
            if digest is not None and source.path not in self._changing:
                self.sources.append(
                    SourceRecord(
                        path=source.path,
                        digest=digest.hex(),
                        reader=readers.identity(suffix_of(source.path)),
                        limit_bytes=self._limit,
                        document_count=self.count - before,
                        failure_count=len(self.errors) - errors,
                    )
                )
            if self.count > before:
                self._files_done += 1
                self._changes.ingested(source.path, None if source.path in self._changing else digest)
            else:
                self._files_failed += 1
            self._bytes_done += source.stamp.size
            self._progress(0)
            check_failed(self._files_failed, self.errors, self._max_failed_files)

    def _can_be_taken(self, source: SourceFile) -> bool:
        previous, digest = self._previous, self._known.get(source.path)
        if previous is None or digest is None or not previous.has(source.path, digest):
            return False
        return all(previous.document(row).document_id not in self._ids for row in previous.rows(source.path))

    def _taken(self, source: SourceFile) -> Iterator[Paper]:
        assert self._previous
        for row in self._previous.rows(source.path):
            first, lines = self._previous.passages(row)
            record = dataclasses.replace(self._previous.document(row), first_passage=self._passages)
            yield self._add(Paper(record=record, digest=self._previous.digest(row), lines=lines, origin=first))
        self.errors += self._previous.failures(source.path)
        self.digests[source.path] = self._known[source.path]

    def _opened(self, source: SourceFile) -> Iterator[Paper]:
        begin = time.time_ns()
        with open_regular(source.location) as opened:
            stamp = _stamp(opened)
            file = DigestingFile(opened)
            suffix = suffix_of(source.path)
            content: ByteSource = file
            if suffix not in BY_LINE:
                content = io.BytesIO(file.read(self._limit + 1))
            if _unchanged(opened, stamp):
                yield from self._read(source, suffix, content, file)
                self.digests[source.path] = file.digest()
            if not _unchanged(opened, stamp):
                self._changing.add(source.path)
                self._unsettled(FileError(path=source.path, reason="CHANGED", message="it changed while it was read"))
            elif _stamp(opened) == stamp:
                self._seen.note(source.path, stamp, self.digests[source.path], begin)

    def _unsettled(self, error: FileError) -> None:
        self.errors.append(error)
        self.unsettled.append(error)

    def _documents(self, path: str, suffix: str, content: ByteSource) -> Iterator[Document | FileError]:
        if suffix in READERS:
            return READERS[suffix](path, content, self._limit)
        return self._parser.read(path, suffix, content, self._limit)

    def _read(self, source: SourceFile, suffix: str, content: ByteSource, file: DigestingFile) -> Iterator[Paper]:
        for document in self._documents(source.path, suffix, content):
            if isinstance(document, FileError):
                if document.reason in UNSETTLED:
                    self._unsettled(document)
                else:
                    self.errors.append(document)
            elif document.document_id in self._ids:
                self.errors.append(
                    FileError(
                        path=document.place,
                        reason="DUPLICATE_ID",
                        message=f"another document has the id {document.document_id!r}",
                    )
                )
            else:
                title = shortened(document.title)
                yield self._add(self._paper(dataclasses.replace(document, title=title), source.path))
            self._progress(file.bytes_read)

    def _paper(self, document: Document, path: str) -> Paper:
        digest = _digest(document)
        row = self._previous.find(path, digest) if self._previous else None
        if self._previous and row is not None:
            origin: int | None
            origin, lines = self._previous.passages(row)
        else:
            passages = chunk(document, path, max_tokens=self._max_tokens, count_tokens=self._encoder.count_tokens)
            origin, lines = None, [line_of(passage) for passage in passages]
        record = DocumentRecord(
            document_id=document.document_id,
            path=path,
            title=document.title,
            **dataclasses.asdict(document.bibliography),
            size_bytes=len(document.text.encode()),
            first_passage=self._passages,
            passage_count=len(lines),
        )
        return Paper(record=record, digest=digest, lines=lines, origin=origin)

    def _add(self, paper: Paper) -> Paper:
        self._ids.add(paper.record.document_id)
        self.count += 1
        self._passages += len(paper.lines)
        return paper

    def _progress(self, bytes_read: int) -> None:
        self._report(
            JobStage.SCAN,
            (self._bytes_done + bytes_read) / self._bytes_total,
            f"read {self.count} papers, {self._passages} passages",
            files_done=self._files_done,
            files_failed=self._files_failed,
            passages_total=self._passages,
            file_errors=sorted(self.errors[:MAX_FILE_ERRORS], key=lambda error: error.path),
        )


def _stamp(file: BinaryIO) -> Stamp:
    return Stamp.of(os.fstat(file.fileno()))


def _unchanged(file: BinaryIO, stamp: Stamp) -> bool:
    """Whether the content is what it was: rights and links may have changed."""
    now = _stamp(file)
    return (now.size, now.mtime_ns) == (stamp.size, stamp.mtime_ns)


def _digest(document: Document) -> bytes:
    # As JSON, not in the canonical encoding, which takes two spellings in Unicode for one.
    fields = dataclasses.asdict(document)
    del fields["place"]
    return hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=16).digest()
