"""Recognising an index that is published already."""

from pathlib import Path

from ingest_service.failures import MAX_FILE_ERRORS, check_failed
from ingest_service.identity import corpus_id, file_digests
from ingest_service.scan import Scan
from ingest_service.task import Outcome, Report, Task
from ingest_service.vectors import has_graph
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.index_store import read_documents, read_failures, verify
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval.encoders import Encoder


def already_published(task: Task, found: Scan, encoder: Encoder, report: Report) -> Outcome | None:
    """The outcome of an ingest whose index is there and intact, reported as building it would have been; else None.

    Raises TooManyFailedFiles.
    """
    digests = file_digests(found)
    for graph in (False, True):  # which of the two this ingest builds depends on the passages, which nobody counted yet
        identifier = corpus_id(found, digests, encoder, task.max_file_bytes, graph=graph)
        try:
            manifest = verify(Path(task.indexes) / identifier)
            if has_graph(task, manifest.passage_count) != graph:
                continue
            outcome = Outcome(corpus_id=identifier, staged=False, embed_hits=manifest.passage_count, embed_misses=0)
            _report_published(task, outcome, found, report)
        except (IndexNotFound, IndexDamaged, FormatUnsupported):  # it may be deleted while it is read
            continue
        return outcome
    return None


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
    check_failed(failed, errors, task.max_failed_files)
