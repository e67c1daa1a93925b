import os
import signal
from pathlib import Path

import pytest

from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Serve
from tests.ingest_service.ingest_harness import Service, alive, beir, until, write


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"corpus.jsonl": beir(400)})


def test_a_job_that_waits_is_cancelled_at_once(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        running = service.start(papers, corpus="first")
        service.standing(running)
        waiting = service.start(papers, corpus="second")
        cancelled = service.cancel(waiting)
        assert cancelled.state == rpb.JOB_STATE_CANCELLED
        assert cancelled.message == "cancelled before it ran"
        assert cancelled.HasField("finish_time")
        assert (cancelled.attempt, cancelled.HasField("error"), cancelled.HasField("result")) == (0, False, False)
        assert service.cancel(waiting) == service.job(waiting) == cancelled
        assert service.job(running).state == rpb.JOB_STATE_RUNNING
    assert service.end(running).state == rpb.JOB_STATE_SUCCEEDED
    assert service.end(waiting) == cancelled
    assert [index.corpus for index in service.indexes()] == ["first"]


def test_a_running_job_is_cancelled_with_its_worker_and_leaves_nothing(service: Service, papers: Path) -> None:
    with service.held():
        job = service.start(papers)
        service.standing(job)
        worker = service.worker()
        assert os.getpriority(os.PRIO_PROCESS, worker) > os.getpriority(os.PRIO_PROCESS, service.pid)
        assert service.staged() == [f"{job.job_id}.1"]
        assert service.cancel(job).state in (rpb.JOB_STATE_RUNNING, rpb.JOB_STATE_CANCELLED)
        ended = service.end(job)
    assert ended.state == rpb.JOB_STATE_CANCELLED
    assert ended.message == "cancelled"
    assert ended.progress < 1.0
    assert ended.HasField("finish_time")
    assert not ended.HasField("error")
    assert not ended.HasField("result")
    assert not alive(worker)
    service.tidies_up()
    assert service.published() == []
    assert list(service.paths.corpora.iterdir()) == []
    assert service.ingest(papers).result.index.passage_count == 400


def test_a_job_that_has_just_begun_can_be_cancelled(service: Service, papers: Path) -> None:
    with service.held():
        for number in range(5):
            job = service.start(papers, corpus=f"c{number}")
            service.cancel(job)
            assert service.end(job).state == rpb.JOB_STATE_CANCELLED
        until(lambda: not service.workers() and not service.staged(), "nothing left")


def test_a_frozen_worker_cannot_keep_its_job_from_being_cancelled(service: Service, papers: Path) -> None:
    with service.held():
        job = service.start(papers)
        os.kill(service.worker(), signal.SIGSTOP)
        service.cancel(job)
        assert service.end(job).state == rpb.JOB_STATE_CANCELLED
        assert service.workers() == []


def test_cancelling_again_is_harmless(service: Service, papers: Path) -> None:
    with service.held():
        job = service.start(papers)
        service.standing(job)
        for _ in range(5):
            service.cancel(job)
        ended = service.end(job)
        assert ended.state == rpb.JOB_STATE_CANCELLED
        assert service.cancel(job) == ended


def test_cancelling_after_the_end_changes_nothing(service: Service, papers: Path) -> None:
    for job in (service.ingest(papers), service.fail(papers, model_name="no-such-model")):
        assert service.cancel(job) == job
        assert service.job(job) == job
    assert len(service.published()) == 1


def test_a_cancelled_job_makes_room_for_the_next(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        first, second = (service.start(papers, corpus=corpus) for corpus in ("first", "second"))
        service.standing(first)
        service.cancel(first)
        service.standing(second)
    assert service.end(second).state == rpb.JOB_STATE_SUCCEEDED
    assert [index.corpus for index in service.indexes()] == ["second"]


def test_a_cancel_just_before_the_service_ends_is_kept(serve: Serve, papers: Path) -> None:
    service = serve()
    with service.held():
        jobs = [service.start(papers, corpus=corpus) for corpus in ("first", "second")]
        for job in jobs:
            service.standing(job)
            service.cancel(job)
        service.stop()
    service = serve()
    assert [service.end(job).state for job in jobs] == [rpb.JOB_STATE_CANCELLED] * 2
    assert service.published() == []


def test_a_caller_that_goes_away_in_the_middle_of_a_call_leaves_no_half_done_job(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        service.standing(service.start(papers, corpus="first"))
        for number in range(60):
            request = pb.StartIngestRequest(corpus_dir=str(papers), corpus=f"c{number}")
            call = service.stub.StartIngest.future(request)
            spin(number % 20)
            call.cancel()
            known = {job.corpus: job for job in service.jobs()}
            job = known.get(request.corpus) or service.start(papers, corpus=request.corpus)
            call = service.stub.CancelJob.future(pb.CancelJobRequest(job_id=job.job_id))
            spin(number % 20)
            call.cancel()
        jobs = service.jobs()
        waiting = [job for job in jobs if job.state == rpb.JOB_STATE_QUEUED]
        for job in jobs:
            service.cancel(job)
        ended = [service.end(job) for job in jobs]
        assert {job.state for job in ended} == {rpb.JOB_STATE_CANCELLED}, waiting
        assert {job.message for job in ended} <= {"cancelled", "cancelled before it ran"}
    service.stop()
    assert serve().jobs() == ended


def spin(ticks: int) -> None:
    for _ in range(ticks * 400):
        pass
