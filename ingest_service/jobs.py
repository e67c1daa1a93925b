"""Jobs: a bounded queue, a bounded number of workers, and what becomes of each job."""

import asyncio
import contextlib
import dataclasses
import logging
import shutil
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from ingest_service.ledger import JobLedger, stands
from ingest_service.process import run_worker
from ingest_service.task import Outcome, Task
from ingest_service.versions import Versions
from rag_papers.errors import Draining, IndexNotFound, Internal, QueueFull, RagError, RequestIdReused, WorkerLost
from rag_papers.persist.cache_limits import CacheLimits
from rag_papers.persist.cache_schema import CacheTable
from rag_papers.persist.index_store import FileError
from rag_papers.persist.job_log import Job, JobFailure, JobRequest, JobResult, JobStage, JobState
from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings

logger = logging.getLogger(__name__)

_UNKNOWN_PACE = {"passages_per_second": None, "remaining_seconds": None}


class JobManager:
    """Runs jobs in worker processes. Belongs to one event loop."""

    def __init__(self, settings: Settings, paths: DataPaths, ledger: JobLedger, versions: Versions) -> None:
        self._settings = settings
        self._paths = paths
        self._ledger = ledger
        self._versions = versions
        self._queue: deque[str] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._settled: set[str] = set()  # jobs whose end is decided: what remains must not be interrupted
        self._publishing: set[str] = set()  # those of them that are about to succeed
        self._cancelling: set[str] = set()  # jobs that nothing but their cancellation becomes of
        self._submitting = asyncio.Lock()
        self._draining = False

    async def start(self) -> None:
        """Clears away what a crash left, and queues again the jobs that it interrupted."""
        await asyncio.to_thread(_empty, self._paths.staging)
        for job in await self._ledger.load():
            if result := await self._published(job):
                await self._succeed(job.job_id, result)
            elif job.cancel_requested:
                await self._end(job.job_id, JobState.CANCELLED, "cancelled")
            elif job.attempt >= self._settings.max_job_attempts:
                await self._fail(job.job_id, WorkerLost(f"interrupted {_times(job.attempt)}"))
            else:
                await self._ledger.record(
                    job.job_id, state=JobState.QUEUED, message="resumes after a restart", **_UNKNOWN_PACE
                )
                self._queue.append(job.job_id)
        self._dispatch()

    async def submit(
        self,
        *,
        corpus_dir: Path,
        corpus: str,
        model_name: str,
        use_cache: bool,
        max_failed_files: int | None,
        request_id: str,
    ) -> Job:
        """Queues a job; one that waits or runs for the same, or has the same request_id, is returned instead.

        A request_id stands for its job for 24 hours, also one that came to a job which was there already. Raises
        RequestIdReused, QueueFull, Draining or DiskFull.
        """
        now = time.time()
        requests = (JobRequest(request_id=request_id, time=now),) if request_id else ()
        wanted = (str(corpus_dir), corpus, model_name, use_cache, max_failed_files)
        async with self._submitting:
            if self._draining:
                raise Draining("the service is shutting down; try again in a moment")
            for job in self._ledger.all():
                if any(request.request_id == request_id and stands(request, now) for request in job.requests):
                    if _asked(job) != wanted:
                        raise RequestIdReused(
                            f"request_id {request_id!r} belongs to job {job.job_id}, which ingests something else",
                            job_id=job.job_id,
                        )
                    return job
            for job in self._ledger.all():
                if _asked(job) == wanted and not job.state.final and job.job_id not in self._cancelling:
                    if requests:
                        job = await self._ledger.change(job.job_id, requests=job.requests + requests)
                    return job
            if len(self._queue) >= self._settings.max_queued_jobs:
                raise QueueFull(f"{len(self._queue)} jobs wait already")
            job = await self._ledger.add(
                Job(
                    job_id=str(uuid.uuid4()),
                    corpus_dir=str(corpus_dir),
                    corpus=corpus,
                    model_name=model_name,
                    use_cache=use_cache,
                    max_failed_files=max_failed_files,
                    requests=requests,
                    create_time=now,
                    message="waits for a worker",
                )
            )
            self._queue.append(job.job_id)
        self._dispatch()
        return self._ledger.get(job.job_id)  # with its place in line

    async def cancel(self, job_id: str) -> Job:
        """Cancels a job that has not ended, for everyone whose request it answers. Raises JobNotFound.

        Once its publishing has begun, its message says that it is too late.
        """
        job = self._ledger.get(job_id)
        if job_id in self._publishing and not job.state.final:
            return self._ledger.progress(job_id, message="too late to cancel: the index is being published")
        if job.state.final or job_id in self._settled or job_id in self._cancelling:
            return job
        self._cancelling.add(job_id)
        if job_id in self._queue:
            self._queue.remove(job_id)
            self._settled.add(job_id)
            job = await self._end(job_id, JobState.CANCELLED, "cancelled before it ran")
            self._ended(job_id)
            return job
        # First, so that the job cannot come to its publishing while the log is being written.
        self._interrupt(job_id)
        return await self._ledger.record(job_id, cancel_requested=True, message="is being cancelled")

    async def drain(self) -> None:
        """Takes no new jobs and interrupts the running ones; the next start resumes them."""
        async with self._submitting:
            self._draining = True
        tasks = list(self._running.values())
        for job_id in self._running:
            self._interrupt(job_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ledger.end_watches()

    def _interrupt(self, job_id: str) -> None:
        """Ends the worker of a running job whose end is open. Once: a second time would interrupt the tidying up."""
        task = self._running.get(job_id)
        if task is not None and job_id not in self._settled and not task.cancelling():
            task.cancel()

    def _dispatch(self) -> None:
        while self._queue and len(self._running) < self._settings.max_workers and not self._draining:
            job_id = self._queue.popleft()
            task = asyncio.create_task(self._run(job_id), name=f"job {job_id}")
            self._running[job_id] = task
            task.add_done_callback(lambda _, job_id=job_id: self._ended(job_id))  # type: ignore[misc]
        for position, job_id in enumerate(self._queue, 1):
            message = f"waits for a worker, number {position} in line"
            if self._ledger.get(job_id).message != message:
                self._ledger.progress(job_id, message=message)

    def _ended(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        for decided in (self._settled, self._publishing, self._cancelling):
            decided.discard(job_id)
        self._dispatch()

    async def _run(self, job_id: str) -> None:
        try:
            result = await self._attempts(job_id)
        except RagError as error:
            self._settled.add(job_id)
            await self._fail(job_id, error)
        except asyncio.CancelledError:
            if job_id in self._cancelling:
                await self._end(job_id, JobState.CANCELLED, "cancelled")
            else:  # an orderly shutdown, which is not held against the job
                await self._ledger.record(
                    job_id,
                    state=JobState.QUEUED,
                    attempt=max(0, self._ledger.get(job_id).attempt - 1),
                    message="resumes when the service is back",
                    **_UNKNOWN_PACE,
                )
        except Exception:
            logger.exception("job %s: a defect", job_id)
            self._settled.add(job_id)
            await self._fail(job_id, Internal("a defect of the service; its log has the details"))
        else:
            await self._succeed(job_id, result)

    async def _attempts(self, job_id: str) -> JobResult:
        while True:
            job = await self._ledger.change(
                job_id,
                state=JobState.RUNNING,
                attempt=self._ledger.get(job_id).attempt + 1,
                start_time=time.time(),
                message="starts a worker",
                **_UNKNOWN_PACE,
            )
            # Of this attempt alone: a worker of an earlier one that could not be ended yet must not write into it.
            staging = self._paths.staging / f"{job_id}.{job.attempt}"
            try:
                return await self._attempt(job, staging)
            except WorkerLost as error:
                logger.warning("job %s, attempt %d: %s", job_id, job.attempt, error)
                if job.attempt >= self._settings.max_job_attempts:
                    raise WorkerLost(f"{error.message}, {_times(job.attempt)} in all") from error
            finally:  # before the job's end is recorded: the disk may be full
                await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)

    async def _attempt(self, job: Job, staging: Path) -> JobResult:
        task = Task(
            corpus_dir=job.corpus_dir,
            corpus=job.corpus,
            model_name=job.model_name,
            model_download=self._settings.model_download,
            encoder_precision=self._settings.encoder_precision,
            use_cache=job.use_cache,
            max_file_bytes=self._settings.max_file_bytes,
            max_failed_files=job.max_failed_files,
            parse_seconds=self._settings.parse_seconds,
            parse_memory_bytes=self._settings.parse_memory_bytes,
            exact_passages=self._settings.exact_passages,
            cache_db=str(self._paths.cache_db),
            embedding_limits=dataclasses.asdict(
                CacheLimits.of(self._settings, memory=False).tables[CacheTable.EMBEDDINGS]
            ),
            indexes=str(self._paths.indexes),
            corpora=str(self._paths.corpora),
            seen=str(self._paths.seen),
            models=str(self._paths.models),
            staging=str(staging),
        )
        while True:
            done = await run_worker(
                "ingest_service.worker",
                task,
                lambda update: self._update(job.job_id, update),
                self._settings.worker_silence_seconds,
            )
            if result := await self._publish(job, Outcome.of(done), staging):
                return result

    async def _publish(self, job: Job, outcome: Outcome, staging: Path) -> JobResult | None:
        """The result of the job; None if the index that its worker found published has been deleted since."""
        # From here on a cancel comes too late: what follows takes a moment and must not be torn.
        self._settled.add(job.job_id)
        self._publishing.add(job.job_id)
        await self._ledger.change(job.job_id, outcome=dataclasses.asdict(outcome))
        try:
            return await self._versions.publish(job, outcome, staging)
        except IndexNotFound:
            if outcome.staged:
                raise
        self._settled.discard(job.job_id)
        self._publishing.discard(job.job_id)
        if self._draining:  # it was spared the interruption because its end seemed decided
            raise asyncio.CancelledError
        return None

    async def _published(self, job: Job) -> JobResult | None:
        """The result of a job that had published its index when the service was killed."""
        try:
            outcome = Outcome.of(job.outcome) if job.outcome else None
        except (TypeError, KeyError):  # of another version of the service
            return None
        return await self._versions.published(job, outcome) if outcome else None

    async def _succeed(self, job_id: str, result: JobResult) -> None:
        await self._end(
            job_id,
            JobState.SUCCEEDED,
            "nothing has changed; already published" if result.unchanged else "published",
            progress=1.0,
            stage=JobStage.SAVE,
            result=result,
            passages_total=result.index.passage_count,
            passages_done=result.index.passage_count,
        )

    def _update(self, job_id: str, update: dict[str, Any]) -> None:
        if "stage" in update:
            update["stage"] = JobStage(update["stage"])
        if "file_errors" in update:
            update["file_errors"] = tuple(FileError(**error) for error in update["file_errors"])
        self._ledger.progress(job_id, **update)

    async def _fail(self, job_id: str, error: RagError) -> None:
        await self._end(
            job_id, JobState.FAILED, error.message, error=JobFailure(reason=error.reason, message=error.message)
        )

    async def _end(self, job_id: str, state: JobState, message: str, **changes: Any) -> Job:
        logger.info("job %s: %s: %s", job_id, state, message)
        return await self._ledger.record(
            job_id, state=state, message=message, finish_time=time.time(), **_UNKNOWN_PACE, **changes
        )


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _asked(job: Job) -> tuple[str, str, str, bool, int | None]:
    """What was asked for: equal jobs ask for the same."""
    return (job.corpus_dir, job.corpus, job.model_name, job.use_cache, job.max_failed_files)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
