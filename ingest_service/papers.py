"""Reading: files to passages, and what the index says of the papers besides."""

import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from ingest_service.chunking import chunk
from ingest_service.failures import MAX_FILE_ERRORS, check_failed
from ingest_service.identity import DigestingFile
from ingest_service.parsing import UNSETTLED, Parser
from ingest_service.readers import BY_LINE, READERS
from ingest_service.readers.document import ByteSource, Document
from ingest_service.scan import Scan, SourceFile, open_regular
from ingest_service.task import Report, Task
from rag_papers.persist.index_store import DocumentRecord, FileError, PassageRecord
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval.encoders import Encoder


class Papers:
    """Reads the files once, and remembers what the index needs besides their passages."""

    def __init__(self, task: Task, found: Scan, encoder: Encoder, parser: Parser, report: Report) -> None:
        self._found, self._encoder, self._parser, self._report = found, encoder, parser, report
        self._max_failed_files = task.max_failed_files
        self._limit = task.max_file_bytes
        (prompt,) = encoder.count_tokens([encoder.prompts.passage])
        self._max_tokens = encoder.max_tokens - prompt
        self._bytes_total = sum(source.size for source in found.files) or 1
        self.documents: list[DocumentRecord] = []
        self.errors: list[FileError] = list(found.errors)
        self.unsettled: list[FileError] = []
        self.digests: dict[str, bytes] = {}
        self._ids: set[str] = set()
        self._passages = self._bytes_done = self._files_done = 0
        self._files_failed = len(found.errors)

    def passages(self) -> Iterator[PassageRecord]:
        """Every passage, in the order of path and place."""
        for source in self._found.files:
            before = len(self.documents)
            try:
                with open_regular(source.location) as opened:
                    yield from self._file(source, opened)
            except OSError as error:
                self.errors.append(
                    FileError(path=source.path, reason="UNREADABLE", message=error.strerror or str(error))
                )
            if len(self.documents) > before:
                self._files_done += 1
            else:
                self._files_failed += 1
            self._bytes_done += source.size
            self._progress(0)
            check_failed(self._files_failed, self.errors, self._max_failed_files)

    def _file(self, source: SourceFile, opened: BinaryIO) -> Iterator[PassageRecord]:
        stamp = _stamp(opened)
        file = DigestingFile(opened)
        suffix = PurePosixPath(source.path).suffix.lower()
        content: ByteSource = file
        if suffix not in BY_LINE:
            content = io.BytesIO(file.read(self._limit + 1))
        if _stamp(opened) == stamp:
            yield from self._read(source, suffix, content, file)
            self.digests[source.path] = file.digest()
        if _stamp(opened) != stamp:
            self._unsettled(FileError(path=source.path, reason="CHANGED", message="it changed while it was read"))

    def _unsettled(self, error: FileError) -> None:
        self.errors.append(error)
        self.unsettled.append(error)

    def _documents(self, path: str, suffix: str, content: ByteSource) -> Iterator[Document | FileError]:
        if suffix in READERS:
            return READERS[suffix](path, content, self._limit)
        return self._parser.read(path, suffix, content, self._limit)

    def _read(
        self, source: SourceFile, suffix: str, content: ByteSource, file: DigestingFile
    ) -> Iterator[PassageRecord]:
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
                passages = chunk(
                    document, source.path, max_tokens=self._max_tokens, count_tokens=self._encoder.count_tokens
                )
                self._ids.add(document.document_id)
                self.documents.append(
                    DocumentRecord(
                        document_id=document.document_id,
                        path=source.path,
                        title=document.title,
                        **dataclasses.asdict(document.bibliography),
                        size_bytes=len(document.text.encode()),
                        first_passage=self._passages,
                        passage_count=len(passages),
                    )
                )
                self._passages += len(passages)
                yield from passages
            self._progress(file.bytes_read)

    def _progress(self, bytes_read: int) -> None:
        self._report(
            JobStage.SCAN,
            (self._bytes_done + bytes_read) / self._bytes_total,
            f"read {len(self.documents)} papers, {self._passages} passages",
            files_done=self._files_done,
            files_failed=self._files_failed,
            passages_total=self._passages,
            file_errors=sorted(self.errors[:MAX_FILE_ERRORS], key=lambda error: error.path),
        )


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """What changes with a file's content."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
