"""The pipeline: scan, lexical, vectors, save. Runs in a worker process and writes nothing but its staging directory and
the embedding cache."""

import dataclasses
import io
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ingest_service.chunking import CHUNKER, chunk, embedding_text, fitting_texts
from ingest_service.identity import DigestingFile, corpus_id, file_digests
from ingest_service.pace import Pace
from ingest_service.parsing import UNSETTLED, Parser
from ingest_service.readers import BY_LINE, READERS
from ingest_service.readers.document import ByteSource, Document
from ingest_service.scan import Scan, SourceFile, open_regular, scan
from ingest_service.task import Outcome, Report, Task
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound, NoPapers, TooManyFailedFiles
from rag_papers.persist import caching
from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.embedding_cache import Advance, CachingEncoder
from rag_papers.persist.index_store import (
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    DocumentRecord,
    FileError,
    IndexBuilder,
    PassageRecord,
    read_documents,
    read_failures,
    verify,
)
from rag_papers.persist.job_log import JobStage
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import fastest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval import bm25
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.encoders import Encoder, open_encoder

MAX_FILE_ERRORS = 100
"""Errors of single files that a job lists; all of them are in the index's failures.jsonl."""

_WINDOW = 4096  # passages that are grouped by length and embedded together: bounds the memory for texts


def build(task: Task, report: Report) -> Outcome:
    """Builds the index that `task` asks for. Raises RagError, and OSError for what the disk does."""
    report(JobStage.SCAN, 0.0, "looking for papers")
    encoder = open_encoder(task.model_name, download=task.model_download, precision=task.encoder_precision)
    found = scan(Path(task.corpus_dir), task.max_file_bytes)
    report(
        JobStage.SCAN,
        0.0,
        f"reading {len(found.files)} files",
        files_total=len(found.files) + len(found.errors),
        files_skipped=found.skipped,
    )
    if task.use_cache and (outcome := _already_published(task, found, encoder, report)):
        return outcome
    builder = IndexBuilder(Path(task.staging))
    with Parser(seconds=task.parse_seconds, memory_bytes=task.parse_memory_bytes) as parser:
        papers = _Papers(task, found, encoder, parser, report)
        offsets = builder.write_lines(PASSAGES, papers.passages())
    if not papers.documents:
        raise NoPapers(
            f"none of the {len(found.files) + len(found.errors)} files could be read: "
            + "; ".join(f"{e.path}: {e.message}" for e in papers.errors[:3])
        )
    builder.write_array(PASSAGE_OFFSETS, offsets)
    builder.write_lines(DOCUMENTS, papers.documents)
    builder.write_lines(FAILURES, sorted(papers.errors, key=lambda error: error.path))
    count = len(offsets) - 1

    def lexical(done: int) -> None:
        report(JobStage.LEXICAL, done / count, f"counted {done} of {count} passages")

    report(JobStage.LEXICAL, 0.0, f"counting the words of {count} passages", passages_total=count)
    builder.write_postings(bm25.fit((terms(embedding_text(p)) for p in builder.passages()), lexical))
    vectors = builder.create_vectors(count, encoder.dim)
    hits, misses = _embed(task, builder, _fastest(task, encoder, report), vectors, report)
    if graph := _has_graph(task, count):
        _link(builder, vectors, report)
    report(JobStage.SAVE, 0.6 if graph else 0.0, "writing and verifying the index")
    manifest = builder.finish(
        corpus_id=corpus_id(
            found, papers.digests, encoder, task.max_file_bytes, graph=graph, unsettled=papers.unsettled
        ),
        document_count=len(papers.documents),
        passage_count=count,
        dim=encoder.dim,
        model_name=encoder.name,
        model_identity=encoder.identity,
        analyzer=ANALYZER,
        chunker=CHUNKER,
    )
    report(JobStage.SAVE, 0.8, "publishing the index")
    return Outcome(corpus_id=manifest.corpus_id, staged=True, embed_hits=hits, embed_misses=misses)


def _already_published(task: Task, found: Scan, encoder: Encoder, report: Report) -> Outcome | None:
    digests = file_digests(found)
    for graph in (False, True):  # which of the two this ingest builds depends on the passages, which nobody counted yet
        identifier = corpus_id(found, digests, encoder, task.max_file_bytes, graph=graph)
        try:
            manifest = verify(Path(task.indexes) / identifier)
            if _has_graph(task, manifest.passage_count) != graph:
                continue
            outcome = Outcome(corpus_id=identifier, staged=False, embed_hits=manifest.passage_count, embed_misses=0)
            _report_published(task, outcome, found, report)
        except (IndexNotFound, IndexDamaged, FormatUnsupported):  # it may be deleted while it is read
            continue
        return outcome
    return None


def _has_graph(task: Task, passages: int) -> bool:
    return passages > task.exact_passages


def _report_published(task: Task, outcome: Outcome, found: Scan, report: Report) -> None:
    """Says of an index that is there already what building it would have said."""
    index = Path(task.indexes) / outcome.corpus_id
    read = {document.path for document in read_documents(index)}
    failed = len(found.files) - len(read) + len(found.errors)
    errors = read_failures(index)
    report(
        JobStage.SCAN,
        1.0,
        "nothing has changed",
        files_done=len(read),
        files_failed=failed,
        file_errors=errors[:MAX_FILE_ERRORS],
        passages_total=outcome.embed_hits,
        passages_done=outcome.embed_hits,
    )
    _check_failed(failed, errors, task.max_failed_files)


def _check_failed(failed: int, errors: Sequence[FileError], allowed: int | None) -> None:
    """Raises TooManyFailedFiles if more files failed than are allowed."""
    if allowed is not None and failed > allowed:
        raise TooManyFailedFiles(
            f"{failed} files could not be ingested, {allowed} are allowed: "
            + "; ".join(f"{error.path}: {error.message}" for error in errors[:3])
        )


class _Papers:
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
            _check_failed(self._files_failed, self.errors, self._max_failed_files)

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


def _fastest(task: Task, encoder: Encoder, report: Report) -> Encoder:
    """The frozen form of the encoder, which is made when a model is seen for the first time."""
    report(JobStage.VECTORS, 0.0, f"preparing the model {encoder.name}", passages_done=0)

    def fall_back(why: str) -> None:
        report(JobStage.VECTORS, 0.0, f"embedding with sentence-transformers: the model cannot be frozen: {why}")

    return fastest(ModelStore(Path(task.models)), encoder, fall_back)


def _embed(
    task: Task, builder: IndexBuilder, encoder: Encoder, vectors: npt.NDArray[np.float32], report: Report
) -> tuple[int, int]:
    """Fills `vectors`, those of vectors.npy; returns how many were reused and how many were computed."""
    count = len(vectors)
    limits = CacheLimits(tables={CacheTable.EMBEDDINGS: TableLimits(**task.embedding_limits)})
    store = SqliteStore(Path(task.cache_db), limits)
    caching_encoder = CachingEncoder(encoder, store)
    passages = builder.passages()
    pace = Pace(count)
    hits = misses = done = 0

    def progress(in_window: int) -> None:
        report(
            JobStage.VECTORS,
            (done + in_window) / count,
            f"embedded {done + in_window} of {count} passages",
            pace=pace,
            passages_done=done + in_window,
        )

    def advance(advance: Advance) -> None:
        pace.advance(advance)
        progress(advance.done)

    report(JobStage.VECTORS, 0.0, f"embedding {count} passages", passages_done=0)
    try:
        while records := list(islice(passages, _WINDOW)):
            window = fitting_texts(records, encoder)
            embedded = caching_encoder.encode(window, caching.USE if task.use_cache else caching.BYPASS, advance)
            vectors[done : done + len(window)] = embedded.vectors
            done, hits, misses = done + len(window), hits + embedded.hits, misses + embedded.misses
            pace.next_window()
            progress(0)
    finally:
        store.close()
    vectors.flush()  # type: ignore[attr-defined]
    return hits, misses


def _link(builder: IndexBuilder, vectors: npt.NDArray[np.float32], report: Report) -> None:
    """Writes the approximate index."""

    def progress(done: int) -> None:
        report(
            JobStage.SAVE, 0.6 * done / len(vectors), f"linked {done} of {len(vectors)} passages to their neighbours"
        )

    progress(0)
    builder.write_graph(vectors, progress)
