"""Every change of pointers and of what they point to, one after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from ingest_service.publishing import Publisher
from ingest_service.removal import Removed, Remover
from ingest_service.task import Outcome
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import IndexInfo
from rag_papers.persist.job_log import Job, JobResult
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import SqliteStore

P = ParamSpec("P")
R = TypeVar("R")


class Versions:
    """The one place where versions are published, activated and deleted.

    One thread does it all, off the event loop: a change begins when the one before it is complete, also when the caller
    of that one is gone.
    """

    def __init__(self, paths: DataPaths, keep: int) -> None:
        corpora = Corpora(paths.corpora)
        self._publisher = Publisher(paths, corpora)
        self._store = SqliteStore(paths.cache_db)
        self._remover = Remover(paths, corpora, self._store)
        self._keep = keep
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="versions")

    async def publish(self, job: Job, outcome: Outcome, staging: Path) -> JobResult:
        """Publishes what a worker made, and deletes the versions that it makes too old; see `Publisher.publish`."""
        return await self._next(self._publish, job, outcome, staging)

    async def published(self, job: Job, outcome: Outcome) -> JobResult | None:
        """Completes a publishing that a crash interrupted after the pointer was swapped; see `Publisher.published`."""
        return await self._next(self._published, job, outcome)

    async def activate(self, corpus: str, corpus_id: str) -> IndexInfo:
        """Makes a version the active one; see `Publisher.activate`."""
        return await self._next(self._publisher.activate, corpus, corpus_id)

    async def delete(self, corpus: str, corpus_id: str) -> Removed:
        """Deletes a version; see `Remover.delete`."""
        return await self._next(self._remover.delete, corpus, corpus_id)

    async def collect(self) -> Removed:
        """Deletes the indexes that no corpus refers to; see `Remover.collect`."""
        return await self._next(self._remover.collect)

    async def close(self) -> None:
        """Waits for the change that is being made, and makes no other."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        self._store.close()

    async def _next(self, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.wrap_future(self._executor.submit(change, *args, **kwargs))

    def _publish(self, job: Job, outcome: Outcome, staging: Path) -> JobResult:
        return self._tidied(self._publisher.publish(job, outcome, staging))

    def _published(self, job: Job, outcome: Outcome) -> JobResult | None:
        result = self._publisher.published(job, outcome)
        return result and self._tidied(result)

    def _tidied(self, result: JobResult) -> JobResult:
        if not result.unchanged:
            self._remover.keep_newest(result.index.corpus, self._keep)
        return result
