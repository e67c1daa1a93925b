import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import resources_pb2 as rpb
from tests.faults.crashing import Faults
from tests.ingest_service.conftest import Spawn
from tests.ingest_service.ingest_harness import PATIENCE, HeldCache, ServiceProcess, alive, beir, refused, until, write


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"corpus.jsonl": beir(400)})


def publishing(service: ServiceProcess, faults: Faults, papers: Path) -> rpb.Job:
    """A job that waits in the middle of its publishing."""
    job = service.start(papers, corpus="first")
    until(faults.holding, "a job that publishes")
    return job


def last(stream: Any) -> rpb.Job:
    """What the watch of a job that a drain interrupts ends with."""
    seen: list[rpb.Job] = []
    with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
        seen.extend(message.job for message in stream)
    return seen[-1]


def test_a_cancel_after_publishing_began_comes_too_late_and_says_so(spawn: Spawn, faults: Faults, papers: Path) -> None:
    faults.hold("service replace first.json 1 before")
    service = spawn()
    job = publishing(service, faults, papers)
    for _ in range(2):
        answer = service.cancel(job)
        assert answer.state == rpb.JOB_STATE_RUNNING
        assert answer.message == "too late to cancel: the index is being published"
    faults.release()
    ended = service.end(job)
    assert ended.state == rpb.JOB_STATE_SUCCEEDED
    assert service.cancel(job) == ended
    assert service.index(corpus="first") == ended.result.index


def test_sigterm_ends_a_service_with_jobs_in_every_state_and_a_restart_goes_on(
    spawn: Spawn, faults: Faults, papers: Path, settings: Callable[..., Settings]
) -> None:
    faults.hold("service replace first.json 1 before")
    service = spawn(max_workers=2, drain_seconds=PATIENCE)
    published = publishing(service, faults, papers)
    # Of other papers: those of the first job are embedded already.
    other = write(papers.parent / "other", {"corpus.jsonl": beir(400, words=7)})
    with HeldCache(DataPaths.of(settings()).cache_db):
        running, waiting, cancelled = (service.start(other, corpus=name) for name in ("second", "third", "fourth"))
        standing = service.standing(running)
        worker = service.worker()
        streams = [service.watch(job) for job in (published, running, waiting)]
        for stream in streams:
            next(stream)
        service.process.send_signal(signal.SIGTERM)
        until(lambda: service.job(running).message == "resumes when the service is back", "a service that drains")
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            service.start(papers, corpus="fifth")
        assert not service.healthy()
        assert not alive(worker)
        assert service.cancel(cancelled).state == rpb.JOB_STATE_CANCELLED
        assert service.job(published).state == rpb.JOB_STATE_RUNNING
        faults.release()
        ends = [[message.job for message in streams[0]][-1], *map(last, streams[1:])]
        assert service.ended() == 0
    assert [job.state for job in ends] == [rpb.JOB_STATE_SUCCEEDED, rpb.JOB_STATE_QUEUED, rpb.JOB_STATE_QUEUED]
    assert service.staged() == []
    assert "Traceback" not in service.log()

    service = spawn()
    assert service.job(published) == ends[0]
    for job in (running, waiting):
        ended = service.end(job)
        assert (ended.state, ended.attempt) == (rpb.JOB_STATE_SUCCEEDED, 1)  # not held against the job
        assert ended.revision > standing.revision
    assert service.job(cancelled).state == rpb.JOB_STATE_CANCELLED
    assert [index.corpus for index in service.indexes()] == ["first", "second", "third"]
    assert service.end_with(signal.SIGINT) == 0
