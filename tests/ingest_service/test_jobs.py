import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from rag_papers.persist.job_log import Job, JobLog, JobRequest, JobState
from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Serve
from tests.ingest_service.ingest_harness import Service, beir, refused, until, write

INVALID = grpc.StatusCode.INVALID_ARGUMENT
HOUR = 3600.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def papers(root: Path) -> Path:
    """Papers whose job can be held in the middle."""
    return write(root / "papers", {"corpus.jsonl": beir(400)})


def ended_job(papers: Path, when: float) -> Job:
    """A job of an earlier life of the service that ended at `when`."""
    return Job(
        job_id="ended",
        corpus_dir=str(papers),
        corpus="papers",
        model_name="hashing-64",
        use_cache=True,
        state=JobState.CANCELLED,
        create_time=when,
        finish_time=when,
    )


def messages(service: Service, jobs: list[rpb.Job]) -> list[str]:
    return [service.job(job).message for job in jobs]


def in_line(number: int) -> str:
    return f"waits for a worker, number {number} in line"


def test_as_many_jobs_run_as_there_may_be_workers_and_the_rest_wait_in_order(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=2)
    with service.held():
        jobs = [service.start(papers, corpus=f"c{number}") for number in range(5)]
        for job in jobs[:2]:
            service.standing(job)
        assert len(service.workers()) == 2
        assert [service.job(job).state for job in jobs] == [rpb.JOB_STATE_RUNNING] * 2 + [rpb.JOB_STATE_QUEUED] * 3
        assert [job.message for job in jobs[2:]] == [in_line(1), in_line(2), in_line(3)]  # what StartIngest said
        assert messages(service, jobs[2:]) == [in_line(1), in_line(2), in_line(3)]
        waiting = service.job(jobs[2])
        assert (waiting.attempt, waiting.progress, waiting.HasField("start_time")) == (0, 0.0, False)
    ended = [service.end(job) for job in jobs]
    assert {job.state for job in ended} == {rpb.JOB_STATE_SUCCEEDED}
    starts = [job.start_time.ToNanoseconds() for job in ended]
    assert starts == sorted(starts)


def test_those_in_line_move_up_when_one_before_them_leaves(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        jobs = [service.start(papers, corpus=f"c{number}") for number in range(4)]
        service.standing(jobs[0])
        service.cancel(jobs[1])
        assert messages(service, jobs[2:]) == [in_line(1), in_line(2)]
        service.cancel(jobs[0])
        until(lambda: service.job(jobs[2]).state == rpb.JOB_STATE_RUNNING, "the next job")
        assert messages(service, jobs[3:]) == [in_line(1)]


def test_a_full_queue_refuses_and_says_when_to_come_back(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1, max_queued_jobs=2)
    with service.held():
        running, *waiting = [service.start(papers, corpus=f"c{number}") for number in range(3)]
        service.standing(running)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL") as refusal:
            service.start(papers, corpus="one-too-many")
        assert refusal.retry_seconds > 0
        assert len(service.jobs()) == 3
        assert service.start(papers, corpus="c2") == service.job(waiting[1])  # an equal one needs no place
        service.cancel(waiting[0])
        assert service.start(papers, corpus="now-there-is-room").state == rpb.JOB_STATE_QUEUED


def test_equal_jobs_that_wait_or_run_are_one(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        running = service.start(papers)
        waiting = service.start(papers, corpus="waits")
        service.standing(running)
        assert service.start(papers).job_id == running.job_id
        assert service.start(f"{papers}/../papers", corpus="papers", use_cache=True).job_id == running.job_id
        assert service.start(papers, corpus="waits").job_id == waiting.job_id
        others = [
            service.start(papers, use_cache=False),
            service.start(papers, model_name="hashing-32"),
            service.start(papers, corpus="other"),
        ]
        assert len({job.job_id for job in (running, waiting, *others)}) == 5
    ended = service.end(running)
    assert service.start(papers).job_id != ended.job_id


def test_a_job_that_is_being_cancelled_is_not_joined(serve: Serve, papers: Path) -> None:
    service = serve(max_workers=1)
    with service.held():
        first = service.start(papers)
        service.standing(first)
        service.cancel(first)
        assert service.start(papers).job_id != first.job_id


def test_a_request_id_is_one_job_also_after_its_end(service: Service, papers: Path) -> None:
    job = service.ingest(papers, request_id="mine")
    assert service.start(papers, request_id="mine") == job
    assert service.start(papers, request_id="another").job_id != job.job_id
    assert len(service.jobs()) == 2


@pytest.mark.parametrize("change", [{"corpus": "x"}, {"model_name": "hashing-32"}, {"use_cache": False}])
def test_a_request_id_used_for_something_else_is_refused(
    service: Service, papers: Path, change: dict[str, str | bool]
) -> None:
    with service.held():
        job = service.start(papers, request_id="mine")
        with refused(INVALID, "REQUEST_ID_REUSED") as refusal:
            service.start(papers, request_id="mine", **change)
        assert refusal.metadata == {"job_id": job.job_id}
        assert len(service.jobs()) == 1
        service.cancel(job)


def test_a_request_id_stands_for_its_job_for_24_hours_also_across_restarts(
    serve: Serve, settings: Callable[..., Settings], papers: Path
) -> None:
    now = time.time()
    ended = ended_job(papers, now - 25 * HOUR)
    fresh = dataclasses.replace(ended, job_id="fresh", requests=(JobRequest(request_id="fresh", time=now - 23 * HOUR),))
    stale = dataclasses.replace(ended, job_id="stale", requests=(JobRequest(request_id="stale", time=now - 25 * HOUR),))
    JobLog(DataPaths.of(settings()).job_log).rewrite([fresh, stale])
    service = serve()
    assert service.start(papers, request_id="fresh").job_id == "fresh"
    with refused(INVALID, "REQUEST_ID_REUSED") as refusal:
        service.start(papers, request_id="fresh", corpus="other")
    assert refusal.metadata == {"job_id": "fresh"}
    again = service.end(service.start(papers, request_id="stale", corpus="other"))
    assert again.job_id not in ("fresh", "stale")
    with service.held():
        running = service.start(papers, use_cache=False, request_id="its own")
        assert service.start(papers, use_cache=False, request_id="another").job_id == running.job_id
        service.cancel(running)
        service.end(running)
    service.stop()

    service = serve(job_retention_days=0)  # an id keeps its job
    assert {job.job_id for job in service.jobs()} == {"fresh", again.job_id, running.job_id}
    for request_id in ("its own", "another"):
        assert service.start(papers, use_cache=False, request_id=request_id).job_id == running.job_id
        with refused(INVALID, "REQUEST_ID_REUSED"):
            service.start(papers, request_id=request_id)


def test_ended_jobs_are_remembered_for_seven_days_also_across_restarts(
    serve: Serve, settings: Callable[..., Settings], papers: Path
) -> None:
    ended = [
        dataclasses.replace(ended_job(papers, time.time() - days * 24 * HOUR), job_id=f"{days}-days-ago")
        for days in (6.9, 7.1)
    ]
    JobLog(DataPaths.of(settings()).job_log).rewrite(ended)
    for _ in range(2):
        service = serve()
        assert [job.job_id for job in service.jobs()] == ["6.9-days-ago"]
        service.stop()


def test_the_same_directory_under_another_path_is_the_same_request(service: Service, papers: Path, root: Path) -> None:
    (root / "link").symlink_to(papers)
    job = service.ingest(papers, request_id="mine")
    assert service.start(root / "link", request_id="mine").job_id == job.job_id


@pytest.fixture
def five(serve: Serve, papers: Path) -> tuple[Service, list[rpb.Job]]:
    """Five jobs, oldest first: 0 and 2 cancelled, 1 failed, 3 and 4 succeeded."""
    service = serve(max_workers=1)
    small = write(papers.parent / "small", {"a.txt": "one paper."})
    with service.held():
        jobs = [service.start(papers)]
        jobs += [service.start(small, corpus="fails", model_name="no-such-model")]
        jobs += [service.start(small, corpus=f"c{number}") for number in (2, 3, 4)]
        service.cancel(jobs[2])
        service.cancel(jobs[0])
    return service, [service.end(job) for job in jobs]


def test_jobs_are_listed_newest_first_and_by_state(five: tuple[Service, list[rpb.Job]]) -> None:
    service, jobs = five
    assert service.jobs() == jobs[::-1]
    assert service.jobs(state=rpb.JOB_STATE_CANCELLED) == [jobs[2], jobs[0]]
    assert service.jobs(state=rpb.JOB_STATE_SUCCEEDED) == [jobs[4], jobs[3]]
    assert service.jobs(state=rpb.JOB_STATE_FAILED) == [jobs[1]]
    assert service.jobs(state=rpb.JOB_STATE_RUNNING) == []

    pages, token = [], ""
    while True:
        page = service.stub.ListJobs(pb.ListJobsRequest(page_size=2, page_token=token))
        pages.append(list(page.jobs))
        if not (token := page.next_page_token):
            break
        if len(pages) == 1:  # a job that comes in between moves no page
            jobs.append(service.ingest(jobs[3].corpus_dir, corpus="newer"))
    assert pages == [[jobs[4], jobs[3]], [jobs[2], jobs[1]], [jobs[0]]]
    assert service.stub.ListJobs(pb.ListJobsRequest(page_size=6)).next_page_token == ""

    page = service.stub.ListJobs(pb.ListJobsRequest(page_size=1, state=rpb.JOB_STATE_CANCELLED))
    assert list(page.jobs) == [jobs[2]]
    rest = service.jobs(page_size=1, state=rpb.JOB_STATE_CANCELLED, page_token=page.next_page_token)
    assert rest == [jobs[0]]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.ListJobsRequest(page_size=-1), {"page_size"}),
        (pb.ListJobsRequest(page_size=1001), {"page_size"}),
        (pb.ListJobsRequest(state=99), {"state"}),  # type: ignore[arg-type]
        (pb.ListJobsRequest(page_token="no-such-token"), {"page_token"}),
        (pb.ListJobsRequest(page_size=-1, state=-1), {"page_size", "state"}),  # type: ignore[arg-type]
    ],
)
def test_bad_fields_of_a_list_are_invalid(service: Service, request_: pb.ListJobsRequest, fields: set[str]) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        service.stub.ListJobs(request_)
    assert set(refusal.violations) == fields


def test_an_unknown_job_is_not_found(service: Service) -> None:
    for job_id in ("", "no-such-job", "x" * 10_000, "論文\0"):
        unknown = rpb.Job(job_id=job_id)
        for call in (service.job, service.cancel, lambda job: list(service.watch(job))):
            with refused(NOT_FOUND, "JOB_NOT_FOUND"):
                call(unknown)


def test_no_jobs_are_an_empty_list(service: Service) -> None:
    assert service.stub.ListJobs(pb.ListJobsRequest()) == pb.ListJobsResponse()


def test_ended_jobs_are_forgotten_after_their_time(serve: Serve, papers: Path) -> None:
    service = serve(job_retention_days=0)
    with service.held():
        cancelled = service.start(papers, corpus="first")
        service.standing(cancelled)
        service.cancel(cancelled)
        service.end(cancelled)
        running = service.start(papers, corpus="second")
        assert [job.job_id for job in service.jobs()] == [running.job_id]
        service.cancel(running)


def test_job_ids_cannot_be_guessed(service: Service, papers: Path) -> None:
    ids = {service.ingest(papers, corpus=f"c{number}").job_id for number in range(2)}
    assert len(ids) == 2
    assert all(len(job_id) == 36 for job_id in ids)
