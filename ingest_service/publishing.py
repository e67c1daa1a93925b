"""Publishing: the moment from which questions are answered from a new index."""

import time

from ingest_service.task import Outcome
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import IndexInfo, disk_full_is_an_error_of_ours, publish, read_manifest
from rag_papers.persist.job_log import Job, JobResult
from rag_papers.persist.paths import DataPaths


def publish_outcome(paths: DataPaths, job: Job, outcome: Outcome) -> JobResult:
    """Moves what the worker built to its place and points the job's corpus to it; blocking.

    The index comes first, the pointer last: a reader sees the old version or the new one. Publishing again what is
    active already changes nothing.
    """
    with disk_full_is_an_error_of_ours():
        if outcome.staged:
            staging = paths.staging / job.job_id
            publish(staging, paths.indexes, read_manifest(staging, outcome.corpus_id))
        corpora = Corpora(paths.corpora)
        current = corpora.all().get(job.corpus)
        unchanged = current is not None and current.active.corpus_id == outcome.corpus_id
        if current is not None and unchanged:
            version = current.active
        else:
            version = Version(corpus_id=outcome.corpus_id, publish_time=time.time(), job_id=job.job_id)
            corpora.publish(job.corpus, version)
    manifest = read_manifest(paths.indexes / outcome.corpus_id)
    info = IndexInfo.of(manifest, corpus=job.corpus, active=True, create_time=version.publish_time)
    return JobResult(index=info, embed_hits=outcome.embed_hits, embed_misses=outcome.embed_misses, unchanged=unchanged)
