"""Recognising an index that is published already."""

from collections.abc import Mapping
from pathlib import Path

from ingest_service.changes import Changes
from ingest_service.failures import MAX_FILE_ERRORS, check_failed
from ingest_service.identity import corpus_id
from ingest_service.scan import Scan
from ingest_service.task import Outcome, Report, Task
from ingest_service.vectors import has_graph
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.index_store import read_documents, read_failures, verify
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval.encoders import Encoder


def already_published(
    task: Task, found: Scan, digests: Mapping[str, bytes], encoder: Encoder, changes: Changes, report: Report
) -> Outcome | None:
    """The outcome of an ingest whose index is there and intact, reported as building it would have been; else None.

    Raises TooManyFailedFiles.
    """
    for graph in (False, True):  # which of the two this ingest builds depends on the passages, which nobody counted yet
        identifier = corpus_id(found, digests, encoder, task.max_file_bytes, graph=graph)
        try:
            manifest = verify(Path(task.indexes) / identifier)
            if has_graph(task, manifest.passage_count) != graph:
                continue
            read = {document.path for document in read_documents(Path(task.indexes) / identifier)}
            errors = read_failures(Path(task.indexes) / identifier)
        except (IndexNotFound, IndexDamaged, FormatUnsupported):  # it may be deleted while it is read
            continue
        for path in read:
            changes.ingested(path, digests.get(path))
        counts = changes.counts()
        report(
            JobStage.SCAN,
            1.0,
            "nothing has changed",
            files_done=len(read),
            files_failed=counts.failed,
            file_errors=errors[:MAX_FILE_ERRORS],
            passages_total=manifest.passage_count,
            passages_done=manifest.passage_count,
        )
        check_failed(counts.failed, errors, task.max_failed_files)
        return Outcome(
            corpus_id=identifier, staged=False, embed_hits=manifest.passage_count, embed_misses=0, files=counts
        )
    return None
