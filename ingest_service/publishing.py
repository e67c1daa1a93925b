"""Publishing: the moment from which questions are answered from another index."""

import dataclasses
import time

from ingest_service.task import Outcome
from rag_papers.persist.corpora import Corpora, Version, named
from rag_papers.persist.index_store import (
    IndexInfo,
    disk_full_is_an_error_of_ours,
    publish,
    read_manifest,
    verify,
)
from rag_papers.persist.job_log import Job, JobResult
from rag_papers.persist.paths import DataPaths


class Publisher:
    """Points corpora to indexes; blocking, for one thread at a time."""

    def __init__(self, paths: DataPaths, corpora: Corpora) -> None:
        self._paths = paths
        self._corpora = corpora

    def publish(self, job: Job, outcome: Outcome) -> JobResult:
        """Moves what the worker built to its place and points the job's corpus to it.

        The index comes first, the pointer last: a reader sees the old version or the new one. Publishing again what is
        active already changes nothing, and is no news unless this very job did so before a crash. Raises IndexNotFound
        if the worker built nothing because the index was there, and it has been deleted since.
        """
        with disk_full_is_an_error_of_ours():
            if outcome.staged:
                staging = self._paths.staging / job.job_id
                publish(staging, self._paths.indexes, read_manifest(staging, outcome.corpus_id))
            manifest = read_manifest(self._paths.indexes / outcome.corpus_id)
            current = self._corpora.all().get(job.corpus)
            if current is not None and current.active.corpus_id == outcome.corpus_id:
                version = current.active
                unchanged = version.job_id != job.job_id
            else:
                version = Version(corpus_id=outcome.corpus_id, publish_time=time.time(), job_id=job.job_id)
                self._corpora.publish(job.corpus, version)
                unchanged = False
        info = IndexInfo.of(manifest, corpus=job.corpus, active=True, create_time=version.publish_time)
        return JobResult(
            index=info,
            embed_hits=outcome.embed_hits,
            embed_misses=outcome.embed_misses,
            unchanged=unchanged,
            files=outcome.files,
        )

    def activate(self, corpus: str, corpus_id: str) -> IndexInfo:
        """Points `corpus` to a version of its history, once that is verified; to the active one it does already.

        Raises CorpusNotFound, IndexNotFound, IndexDamaged or FormatUnsupported.
        """
        chosen = named(self._corpora.all(), corpus)
        version = chosen.version(corpus_id)
        manifest = verify(self._paths.indexes / version.corpus_id)
        if version.corpus_id != chosen.active.corpus_id:
            version = dataclasses.replace(version, publish_time=time.time())
            with disk_full_is_an_error_of_ours():
                self._corpora.publish(chosen.name, version)
        return IndexInfo.of(manifest, corpus=chosen.name, active=True, create_time=version.publish_time)
