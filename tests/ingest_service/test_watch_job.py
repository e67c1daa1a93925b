import asyncio
import re
import time
from collections.abc import AsyncIterator
from itertools import islice, pairwise
from pathlib import Path

import grpc
import pytest

from ingest_service.ledger import JobLedger
from rag_papers.persist.job_log import Job, JobLog, JobState
from rag_papers.rpc.channel import open_channel
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import ingest_pb2_grpc
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Serve
from tests.ingest_service.ingest_harness import Client, Service, beir, refused, until, write


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"corpus.jsonl": beir(400)})


def test_a_watch_begins_with_the_job_as_it_is_and_ends_with_its_final_state(service: Service, papers: Path) -> None:
    with service.held():
        job = service.start(papers)
        standing = service.standing(job)
        stream = service.watch(job)
        first = next(stream).job
        assert first.stage == standing.stage
        assert first.revision >= standing.revision
    rest = [message.job for message in stream]
    assert rest[-1].state == rpb.JOB_STATE_SUCCEEDED
    assert [now.state for now in rest[:-1]] == [rpb.JOB_STATE_RUNNING] * (len(rest) - 1)
    assert stream.code() is grpc.StatusCode.OK


def test_a_watch_of_an_ended_job_gets_its_final_state_at_once(service: Service, papers: Path) -> None:
    job = service.ingest(papers)
    for after_revision in (0, job.revision, job.revision + 10**9):
        stream = service.watch(job, after_revision)
        assert [message.job for message in stream] == [job]
        assert stream.code() is grpc.StatusCode.OK


def test_the_watch_of_a_failed_job_ends_well(service: Service, papers: Path) -> None:
    stream = service.watch(service.start(papers, model_name="no-such-model"))
    assert [message.job for message in stream][-1].error.reason == "MODEL_UNAVAILABLE"
    assert stream.code() is grpc.StatusCode.OK


def test_an_idle_watch_repeats_the_job_as_a_heartbeat(serve: Serve, papers: Path) -> None:
    service = serve(heartbeat_seconds=0.05)
    with service.held():
        job = service.standing(service.start(papers))
        stream = service.watch(job)
        until(lambda: len({next(stream).job.revision for _ in range(3)}) == 1, "heartbeats of an unchanged job")
        service.cancel(job)
        assert [message.job for message in stream][-1].state == rpb.JOB_STATE_CANCELLED


def test_a_step_that_takes_long_is_told_to_go_on(serve: Serve, papers: Path) -> None:
    service = serve(heartbeat_seconds=600)
    with service.held():
        job = service.standing(service.start(papers))
        messages = (message.job.message for message in service.watch(job))
        waits = list(islice((found for message in messages if (found := re.fullmatch(r"(.+) \((.+) s\)", message))), 3))
        service.cancel(job)
    assert len({wait[1] for wait in waits}) == 1
    assert 0.0 < float(waits[0][2]) < float(waits[1][2]) < float(waits[2][2])


def test_a_watch_goes_on_after_the_revision_that_was_seen(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1, heartbeat_seconds=600)
    with service.held():
        running = service.start(papers, corpus="first")
        service.standing(running)
        job = service.start(papers, corpus="second")
        waiting = service.job(job)
        stream = service.watch(job, waiting.revision)
    moved = [message.job for message in stream]
    assert all(now.revision > waiting.revision for now in moved)
    assert all(a.revision < b.revision for a, b in pairwise(moved))
    assert moved[-1].state == rpb.JOB_STATE_SUCCEEDED


def test_a_negative_revision_is_invalid(service: Service, papers: Path) -> None:
    job = service.ingest(papers)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        list(service.watch(job, -1))
    assert set(refusal.violations) == {"after_revision"}


def test_fifty_idle_watchers_hinder_nobody(serve: Serve, papers: Path) -> None:
    service = serve(heartbeat_seconds=0.2)
    with service.held():
        job = service.standing(service.start(papers))
        streams = [service.watch(job) for _ in range(50)]
        assert {next(stream).job.state for stream in streams} == {rpb.JOB_STATE_RUNNING}
        for _ in range(20):
            assert service.healthy()
            assert service.job(job).state == rpb.JOB_STATE_RUNNING
    ends = [[message.job for message in stream][-1] for stream in streams]
    assert ends == [service.job(job)] * 50


def test_a_watcher_that_goes_away_leaves_nothing_behind(serve: Serve, papers: Path) -> None:
    service = serve(heartbeat_seconds=0.05)
    with service.held():
        job = service.standing(service.start(papers))
        before = service.tasks()
        for leave in (lambda stream, channel: stream.cancel(), lambda stream, channel: channel.close()):
            watches = []
            for _ in range(5):
                channel = open_channel(service.address)
                stream = ingest_pb2_grpc.IngestServiceStub(channel).WatchJob(pb.WatchJobRequest(job_id=job.job_id))
                assert len(list(islice(stream, 2))) == 2
                watches.append((stream, channel))
            assert service.tasks() > before
            for stream, channel in watches:
                leave(stream, channel)
            until(lambda: service.tasks() <= before, "the end of the calls")
            for _, channel in watches:
                channel.close()
        service.cancel(job)
    assert service.end(job).state == rpb.JOB_STATE_CANCELLED


def drained(client: Client, stream: grpc.Call) -> list[rpb.Job]:
    """What a watch sends until the service that drains ends it."""
    seen: list[rpb.Job] = []
    with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
        seen.extend(message.job for message in stream)  # type: ignore[attr-defined]
    return seen


def test_a_service_that_drains_sends_the_last_state_and_ends_the_watch(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        running = service.start(papers, corpus="first")
        service.standing(running)
        waiting = service.start(papers, corpus="second")
        streams = [service.watch(job) for job in (running, waiting)]
        for stream in streams:
            next(stream)
        wait = service.drain()
        ends = [drained(service, stream)[-1] for stream in streams]
        wait()
    assert [job.state for job in ends] == [rpb.JOB_STATE_QUEUED] * 2
    assert ends[0].message == "resumes when the service is back"
    assert service.workers() == []
    service.tidies_up()


def test_a_slow_watcher_misses_what_lies_between_but_not_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = JobLedger(JobLog(tmp_path / "jobs.jsonl"), retention_days=1, heartbeat_seconds=600)
        job = await ledger.add(
            Job(job_id="j", corpus_dir="/d", corpus="c", model_name="m", use_cache=True, create_time=0.0)
        )
        fast, slow = ledger.watch("j", 0), ledger.watch("j", 0)
        assert await anext(fast) == await anext(slow) == job
        for number in range(1, 6):
            ledger.progress("j", passages_done=number)
            assert (await anext(fast)).passages_done == number
        assert (await anext(slow)).passages_done == 5
        ledger.progress("j", passages_done=6)
        await ledger.change("j", state=JobState.SUCCEEDED)
        assert [now.state for now in await everything(slow)] == [JobState.SUCCEEDED]
        assert [now.state for now in await everything(ledger.watch("j", 0))] == [JobState.SUCCEEDED]
        await fast.aclose()  # type: ignore[attr-defined]
        await ledger.close()

    asyncio.run(scenario())


def test_progress_never_falls_and_revisions_always_grow(tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = JobLedger(JobLog(tmp_path / "jobs.jsonl"), retention_days=1, heartbeat_seconds=600)
        job = await ledger.add(
            Job(job_id="j", corpus_dir="/d", corpus="c", model_name="m", use_cache=True, create_time=0.0)
        )
        seen = [job, *(ledger.progress("j", progress=progress) for progress in (0.5, 0.1, 0.7, 0.0))]
        assert [now.progress for now in seen] == [0.0, 0.5, 0.5, 0.7, 0.7]
        assert all(a.revision < b.revision for a, b in pairwise(seen))
        await ledger.change("j", message="logged")
        ledger.progress("j", progress=0.9)  # a restart forgets it
        shown = ledger.get("j").revision
        await ledger.close()
        until(lambda: time.time() * 1000 > shown + 1, "a restart takes longer than a change")

        restarted = JobLedger(JobLog(tmp_path / "jobs.jsonl"), retention_days=1, heartbeat_seconds=600)
        (job,) = await restarted.load()
        assert (job.progress, job.message) == (0.7, "logged")
        assert restarted.progress("j").revision > shown
        await restarted.close()

    asyncio.run(scenario())


async def everything(jobs: AsyncIterator[Job]) -> list[Job]:
    return [job async for job in jobs]
