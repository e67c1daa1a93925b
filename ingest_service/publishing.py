"""Publishing: the moment from which questions are answered from another index."""

import dataclasses
import time
from pathlib import Path

from ingest_service.task import Outcome
from rag_papers.errors import FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.corpora import Corpora, Version, named
from rag_papers.persist.index_store import (
    IndexInfo,
    Manifest,
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

    def publish(self, job: Job, outcome: Outcome, staging: Path) -> JobResult:
        """Moves what the worker built in `staging` to its place and points the job's corpus to it.

        The index comes first, the pointer last: a reader sees the old version or the new one. Publishing again what is
        active already changes nothing, and is no news unless this very job did so before a crash. Raises IndexNotFound
        if the worker built nothing because the index was there, and it has been deleted since.
        """
        with disk_full_is_an_error_of_ours():
            if outcome.staged:
                publish(staging, self._paths.indexes, read_manifest(staging, outcome.corpus_id))
            manifest = read_manifest(self._paths.indexes / outcome.corpus_id)
            current = self._corpora.all().get(job.corpus)
            if current is not None and current.active.corpus_id == outcome.corpus_id:
                version = current.active
            else:
                version = Version(corpus_id=outcome.corpus_id, publish_time=time.time(), job_id=job.job_id)
                self._corpora.publish(job.corpus, version)
        return _result(job, outcome, manifest, version)

    def published(self, job: Job, outcome: Outcome) -> JobResult | None:
        """What `publish` returned, or was about to when the service was killed; None if it had not published yet."""
        corpus = self._corpora.all().get(job.corpus)
        for version in reversed(corpus.history if corpus else ()):
            if (version.corpus_id, version.job_id) == (outcome.corpus_id, job.job_id):
                try:
                    manifest = read_manifest(self._paths.indexes / version.corpus_id)
                except (IndexNotFound, IndexDamaged, FormatUnsupported):
                    return None  # it is built again
                return _result(job, outcome, manifest, version)
        return None

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


def _result(job: Job, outcome: Outcome, manifest: Manifest, version: Version) -> JobResult:
    return JobResult(
        index=IndexInfo.of(manifest, corpus=job.corpus, active=True, create_time=version.publish_time),
        embed_hits=outcome.embed_hits,
        embed_misses=outcome.embed_misses,
        unchanged=version.job_id != job.job_id,
        files=outcome.files,
    )
