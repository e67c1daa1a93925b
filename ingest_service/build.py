"""The pipeline: scan, lexical, vectors, save. Runs in a worker process and writes nothing but its staging directory and
the embedding cache."""

from pathlib import Path

from ingest_service.chunking import CHUNKER, embedding_text
from ingest_service.identity import corpus_id
from ingest_service.papers import Papers
from ingest_service.parsing import Parser
from ingest_service.published import already_published
from ingest_service.scan import scan
from ingest_service.task import Outcome, Report, Task
from ingest_service.vectors import embed, fastest_form, has_graph, link
from rag_papers.errors import NoPapers
from rag_papers.persist.index_store import DOCUMENTS, FAILURES, PASSAGE_OFFSETS, PASSAGES, IndexBuilder
from rag_papers.persist.job_log import JobStage
from rag_papers.retrieval import bm25
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.encoders import open_encoder


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
    if task.use_cache and (outcome := already_published(task, found, encoder, report)):
        return outcome
    builder = IndexBuilder(Path(task.staging))
    with Parser(seconds=task.parse_seconds, memory_bytes=task.parse_memory_bytes) as parser:
        papers = Papers(task, found, encoder, parser, report)
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
    hits, misses = embed(task, builder, fastest_form(task, encoder, report), vectors, report)
    if graph := has_graph(task, count):
        link(builder, vectors, report)
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
