"""The jobs as they are now: in memory for reading and watching, in the job log for the next start."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rag_papers.errors import DiskFull, Draining, JobNotFound
from rag_papers.persist.job_log import Job, JobLog, JobRequest

logger = logging.getLogger(__name__)

SECONDS_A_DAY = 86_400

REQUEST_ID_SECONDS = SECONDS_A_DAY
"""How long a request_id stands for the job that it was first used for."""

_COMPACT_AFTER = 1000  # lines that are added before the log is compacted, besides twice as many as there are jobs


class JobLedger:
    """Belongs to one event loop. Changes are durable, where asked for, before anyone sees them."""

    def __init__(self, log: JobLog, *, retention_days: float, heartbeat_seconds: float) -> None:
        self._log = log
        self._retention = retention_days * SECONDS_A_DAY
        self._heartbeat = heartbeat_seconds
        self._jobs: dict[str, Job] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._closing = False
        self._changing = asyncio.Lock()  # a change starts from what the one before it made
        self._unwritten: set[str] = set()  # jobs whose present state the log does not have
        self._added_lines = 0
        # One thread: lines reach the log in the order of the changes. The loop itself never waits for a disk.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="job-log")

    async def load(self) -> list[Job]:
        """Reads the log, forgets old jobs, compacts the log; returns the jobs that have not ended, oldest first."""
        loop = asyncio.get_running_loop()
        for job in await loop.run_in_executor(self._writer, self._log.load):
            self._jobs[job.job_id] = job
        self._forget()
        await self._compact(self._jobs)
        return [job for job in self._jobs.values() if not job.state.final]

    def get(self, job_id: str) -> Job:
        """The job. Raises JobNotFound."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"there is no job {job_id[:80]!r}", job_id=job_id[:80]) from None

    def all(self) -> list[Job]:
        """Every job, newest first."""
        return sorted(self._jobs.values(), key=lambda job: (job.create_time, job.job_id), reverse=True)

    async def add(self, job: Job) -> Job:
        """Records a new job. Raises DiskFull, or OSError for what else the disk does; there is no such job then."""
        async with self._changing:
            self._forget()
            await self._write(job)
            self._jobs[job.job_id] = job
        return job

    async def change(self, job_id: str, **changes: Any) -> Job:
        """Makes a change of state: it is in the log when anyone sees it. Raises as `add`; nothing has changed then."""
        async with self._changing:
            before, job = self.get(job_id), self._revised(job_id, changes)
            await self._write(job)
            return self._show_written(before, job, changes)

    async def record(self, job_id: str, **changes: Any) -> Job:
        """Records a change that is a fact, as the end of a job is: shown even if the log cannot take it.

        The log has it as soon as it takes lines again. A restart before that resumes the job from its last line.
        """
        async with self._changing:
            before, job = self.get(job_id), self._revised(job_id, changes)
            try:
                await self._write(job)
            except (DiskFull, OSError) as error:
                self._unwritten.add(job_id)
                logger.error("job %s: the job log does not have that it is %s: %s", job_id, job.state, error)
            return self._show_written(before, job, changes)

    def progress(self, job_id: str, **changes: Any) -> Job:
        """Shows a change that a restart may forget."""
        return self._show(self._revised(job_id, changes))

    async def watch(self, job_id: str, after_revision: int) -> AsyncIterator[Job]:
        """The job at once if newer than `after_revision`, after each change, as a heartbeat, last its final state.

        Raises Draining when the service ends first.
        """
        job = self.get(job_id)
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(job_id, set())
        watchers.add(changed)
        try:
            if job.revision > after_revision or job.state.final:
                yield job
            while not job.state.final:
                if self._closing:
                    raise Draining("the service is shutting down; the job goes on when it is back")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), self._heartbeat)
                changed.clear()
                job = self.get(job_id)
                yield job
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop(job_id, None)

    def end_watches(self) -> None:
        """Lets every watch send its last state and end."""
        self._closing = True
        for watchers in self._watchers.values():
            for changed in watchers:
                changed.set()

    async def close(self) -> None:
        """Writes what the log could not take before, if it can now, and ends the writing."""
        async with self._changing:
            with contextlib.suppress(DiskFull, OSError):  # reported when it failed first
                await self._write()
        self._writer.shutdown()
        self._log.close()

    def _revised(self, job_id: str, changes: dict[str, Any]) -> Job:
        job = self.get(job_id)
        # Milliseconds since the job's creation, so that revisions grow over restarts that forget some of them.
        age = int((time.time() - job.create_time) * 1000)
        fixed = {
            "revision": max(job.revision + 1, age),
            "progress": max(job.progress, changes.get("progress", 0.0)),
        }
        return dataclasses.replace(job, **changes | fixed)

    def _show_written(self, before: Job, job: Job, changes: dict[str, Any]) -> Job:
        # Applied anew if the job moved on while the line was being written. If not, what is shown is what was written,
        # revision included, which must not fall at a restart.
        return self._show(job if self.get(job.job_id) is before else self._revised(job.job_id, changes))

    def _show(self, job: Job) -> Job:
        self._jobs[job.job_id] = job
        for changed in self._watchers.get(job.job_id, ()):
            changed.set()
        return job

    async def _write(self, *jobs: Job) -> None:
        """Adds lines to the log, before them the present state of jobs whose lines it could not take."""
        written = {job.job_id for job in jobs}
        lines = [self._jobs[job_id] for job_id in self._unwritten - written if job_id in self._jobs] + list(jobs)

        def append() -> None:
            for line in lines:
                self._log.append(line, durable=True)

        await asyncio.get_running_loop().run_in_executor(self._writer, append)
        self._unwritten.clear()
        self._added_lines += len(lines)
        if self._added_lines > _COMPACT_AFTER + 2 * len(self._jobs):
            await self._compact(self._jobs | {job.job_id: job for job in jobs})

    async def _compact(self, jobs: Mapping[str, Job]) -> None:
        """Leaves one line a job in the log; if there is no space for that, the log stays as it is."""
        rewrite = functools.partial(self._log.rewrite, list(jobs.values()))
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, rewrite)
        except OSError as error:
            logger.warning("the job log is not compacted: %s", error)
        self._added_lines = 0

    def _forget(self) -> None:
        now = time.time()
        for job in list(self._jobs.values()):
            if job.finish_time is None or job.finish_time >= now - self._retention or job.job_id in self._watchers:
                continue
            if not any(stands(request, now) for request in job.requests):
                del self._jobs[job.job_id]


def stands(request: JobRequest, now: float) -> bool:
    """Whether the id of a request still stands for its job at `now`, seconds since the epoch."""
    return now - request.time < REQUEST_ID_SECONDS
