"""The ledger over its log, whatever comes in whatever order: compaction, restarts, kills, a log that takes no lines."""

import asyncio
import contextlib
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service import ledger as ledger_module
from ingest_service.ledger import JobLedger
from rag_papers.errors import DiskFull
from rag_papers.persist.job_log import Job, JobLog, JobState

STEPS = st.one_of(
    st.tuples(st.just("add"), st.just(0)),
    st.tuples(st.sampled_from(("run", "progress")), st.integers(0, 9)),
    st.tuples(st.sampled_from(("succeeded", "failed", "cancelled")), st.integers(0, 9)),
    st.tuples(st.sampled_from(("fills up", "has space")), st.sampled_from((0, 300, 900))),
    st.tuples(st.sampled_from(("stop", "kill")), st.just(0)),
)


class World:
    """A ledger, and for each job the states that its log may have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self.may: dict[str, set[JobState]] = {}

    async def open(self) -> None:
        self.ledger = JobLedger(JobLog(self.path), retention_days=7, heartbeat_seconds=600)
        await self.ledger.load()
        found = {job.job_id: job.state for job in self.ledger.all()}
        assert found.keys() == self.may.keys()
        for job_id, state in found.items():
            assert state in self.may[job_id]
            self.may[job_id] = {state}

    def fill(self, bytes_left: int) -> None:
        self.full = True
        size = self.path.stat().st_size if self.path.exists() else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + bytes_left, resource.RLIM_INFINITY))

    def free(self) -> None:
        self.full = False
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def written(self) -> None:
        """Something was: then the log has all that is shown."""
        self.may = {job.job_id: {job.state} for job in self.ledger.all()}

    async def add(self) -> None:
        job_id = f"job-{len(self.may)}"
        job = Job(job_id=job_id, corpus_dir="d", corpus="c", model_name="m", use_cache=True, create_time=time.time())
        try:
            await self.ledger.add(job)
        except DiskFull:
            assert self.full
        else:
            self.written()

    async def run(self, job: Job) -> None:
        try:
            await self.ledger.change(job.job_id, state=JobState.RUNNING)
        except DiskFull:
            assert self.full
        else:
            self.written()

    async def end(self, job: Job, state: JobState) -> None:
        await self.ledger.record(job.job_id, state=state, finish_time=time.time())
        assert self.ledger.get(job.job_id).state is state  # shown, whatever the log says
        if self.full:
            self.may[job.job_id].add(state)
        else:
            self.written()

    async def stop(self) -> None:
        await self.ledger.close()
        if not self.full:
            self.written()

    def check(self) -> None:
        found = {job.job_id: job.state for job in JobLog(self.path).load()}
        assert found.keys() == self.may.keys()
        assert all(state in self.may[job_id] for job_id, state in found.items())


async def live(world: World, steps: list[tuple[str, int]]) -> None:
    await world.open()
    for step, number in steps:
        open_jobs = [job for job in world.ledger.all() if not job.state.final]
        job = open_jobs[number % len(open_jobs)] if open_jobs else None
        match step:
            case "add":
                await world.add()
            case "fills up":
                world.fill(number)
            case "has space":
                world.free()
            case "stop" | "kill":
                await (world.stop() if step == "stop" else dies(world.ledger))
                await world.open()
            case "run" if job:
                await world.run(job)
            case "progress" if job:
                world.ledger.progress(job.job_id, progress=number / 10)
            case _ if job:
                await world.end(job, JobState(step))
        world.check()
    world.free()
    await world.stop()
    world.check()


async def dies(ledger: JobLedger) -> None:
    """Ends a ledger as a kill does: nothing more is written."""
    ledger._writer.shutdown()
    ledger._log.close()


@contextlib.contextmanager
def often_compacted() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with mock.patch.object(ledger_module, "_COMPACT_AFTER", 2):
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@given(steps=st.lists(STEPS, min_size=20, max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_job_is_lost_and_no_end_of_one(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory, often_compacted():
        asyncio.run(live(World(Path(directory) / "jobs.jsonl"), steps))
