"""The pipeline: scan, lexical, vectors, save. Runs in a worker process and writes nothing but its staging directory,
the embedding cache, and what is remembered of the files.

Reading the papers, counting their words and embedding them overlap: passages.jsonl is written by the first, and the
other two follow it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import TypeVar

import numpy as np

from ingest_service.changes import Changes, digests_before
from ingest_service.chunking import CHUNKER, embedding_text
from ingest_service.identity import corpus_id, file_digests
from ingest_service.papers import Papers
from ingest_service.parsing import Parser
from ingest_service.passages import GrowingPassages
from ingest_service.previous import Previous, previous_version
from ingest_service.published import already_published
from ingest_service.scan import Scan, scan
from ingest_service.seen import SeenFiles
from ingest_service.stages import Stages
from ingest_service.task import Outcome, Report, Task
from ingest_service.vectors import Embedding, has_graph, link
from rag_papers.errors import NoPapers
from rag_papers.persist.index_store import (
    DOCUMENT_DIGESTS,
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    SOURCES,
    DocumentRecord,
    IndexBuilder,
    Manifest,
)
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval import bm25
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.encoders import Encoder, open_encoder

T = TypeVar("T")

_COUNTED_AT_ONCE = 64  # passages


def build(task: Task, report: Report) -> Outcome:
    """Builds the index that `task` asks for. Raises RagError, and OSError for what the disk does."""
    report(JobStage.SCAN, 0.0, "looking for papers")
    encoder = open_encoder(task.model_name, download=task.model_download, precision=task.encoder_precision)
    found = scan(Path(task.corpus_dir), task.max_file_bytes)
    total = len(found.files) + len(found.errors)
    report(JobStage.SCAN, 0.0, f"reading {len(found.files)} files", files_total=total, files_skipped=found.skipped)
    seen = SeenFiles(Path(task.seen), Path(task.corpus_dir))
    changes = Changes(found, digests_before(task))
    digests: dict[str, bytes] = {}
    previous = None
    if task.use_cache and any(Path(task.corpora).iterdir()):

        def compared(done: int) -> None:
            report(JobStage.SCAN, 0.0, f"compared {done} of {len(found.files)} files with those ingested before")

        digests = file_digests(found, seen, compared)
        if outcome := already_published(task, found, digests, encoder, changes, report):
            seen.save()
            return outcome
        previous = previous_version(task, found, digests, encoder)
    with Parser(seconds=task.parse_seconds, memory_bytes=task.parse_memory_bytes) as parser:
        stages = Stages(report)
        papers = Papers(
            task, found, encoder, parser, stages, seen=seen, changes=changes, digests=digests, previous=previous
        )
        outcome = _Build(task, found, encoder, papers, previous, stages).run(changes)
    seen.save()
    return outcome


class _Build:
    """Makes the index of papers that are about to be read."""

    def __init__(
        self, task: Task, found: Scan, encoder: Encoder, papers: Papers, previous: Previous | None, report: Stages
    ) -> None:
        self._task, self._found, self._encoder, self._papers = task, found, encoder, papers
        self._previous, self._report = previous, report
        self._builder = IndexBuilder(Path(task.staging))
        self._passages = GrowingPassages(self._builder.directory / PASSAGES)

    def run(self, changes: Changes) -> Outcome:
        """Builds the index in the staging directory."""
        embedding = Embedding(self._task, self._encoder, self._passages, self._report)
        with self._passages, ThreadPoolExecutor(2) as others:
            reading = others.submit(self._step, JobStage.SCAN, self._read)
            counting = others.submit(self._step, JobStage.LEXICAL, self._count)
            # Here, for the libraries that may have to freeze the model are at home in the main thread.
            self._step(JobStage.VECTORS, lambda: embedding.write(self._builder, self._previous))
            reading.result()
            counting.result()
        manifest = self._finish()
        self._report(JobStage.SAVE, 0.8, "publishing the index")
        return Outcome(
            corpus_id=manifest.corpus_id,
            staged=True,
            embed_hits=embedding.hits,
            embed_misses=embedding.misses,
            files=changes.counts(),
        )

    def _finish(self) -> Manifest:
        count = self._passages.count
        if graph := has_graph(self._task, count):
            link(self._builder, self._report)
        begin = 0.6 if graph else 0.0

        def progress(share: float) -> None:
            self._report(JobStage.SAVE, begin + (0.8 - begin) * share, "writing and verifying the index")

        progress(0.0)
        return self._builder.finish(
            on_progress=progress,
            corpus_id=corpus_id(
                self._found,
                self._papers.digests,
                self._encoder,
                self._task.max_file_bytes,
                graph=graph,
                unsettled=self._papers.unsettled,
            ),
            document_count=self._papers.count,
            passage_count=count,
            dim=self._encoder.dim,
            model_name=self._encoder.name,
            model_identity=self._encoder.identity,
            analyzer=ANALYZER,
            chunker=CHUNKER,
        )

    def _step(self, stage: JobStage, work: Callable[[], T]) -> T:
        """Runs one of the steps that overlap; if it fails, the others end as well."""
        try:
            result = work()
        except BaseException as error:
            self._passages.fail(error)
            raise
        self._report.finish(stage)
        return result

    def _read(self) -> None:
        builder, papers = self._builder, self._papers
        digests = bytearray()

        def documents() -> Iterator[DocumentRecord]:
            for paper in papers.read():
                self._passages.append(paper.lines, paper.origin)
                digests.extend(paper.digest)
                yield paper.record

        builder.write_lines(DOCUMENTS, documents())
        if not papers.count:
            total = len(self._found.files) + len(self._found.errors)
            raise NoPapers(
                f"none of the {total} files could be read: "
                + "; ".join(f"{e.path}: {e.message}" for e in papers.errors[:3])
            )
        builder.write_array(PASSAGE_OFFSETS, np.array(self._passages.offsets))
        builder.write_array(DOCUMENT_DIGESTS, np.frombuffer(digests, np.uint8).reshape(papers.count, -1))
        builder.write_lines(SOURCES, papers.sources)
        builder.write_lines(FAILURES, sorted(papers.errors, key=lambda error: error.path))
        self._passages.end()

    def _count(self) -> None:
        def progress(done: int) -> None:
            count = self._passages.count
            self._report(JobStage.LEXICAL, done / count, f"counted {done} of {count} passages")

        self._report(JobStage.LEXICAL, 0.0, "counting words")
        texts = (embedding_text(p) for run in self._passages.follow(repeat(_COUNTED_AT_ONCE)) for p in run)
        self._builder.write_postings(bm25.fit(map(terms, texts), progress))
