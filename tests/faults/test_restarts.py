import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import (
    PATIENCE,
    HeldCache,
    Service,
    alive,
    beir,
    environment,
    until,
    workers_of,
    write,
)

# What a library may do in the middle of a worker's work.
NOISE = """
import os, sys

def talk(event, args):
    if event == "open" and str(args[0]).endswith("vectors.npy"):
        os.write(1, b"noise")
        print("more of it")

sys.addaudithook(talk)
"""


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"corpus.jsonl": beir(400)})


@pytest.fixture
def cache(settings: Callable[..., Settings]) -> Iterator[HeldCache]:
    """The lock on the cache of the services to come."""
    with HeldCache(DataPaths.of(settings()).cache_db) as held:
        yield held


def test_a_job_whose_workers_are_all_killed_fails(serve: Serve, papers: Path, cache: HeldCache) -> None:
    service = serve(max_job_attempts=3)
    job = service.start(papers)
    for attempt in (1, 2, 3):
        until(lambda number=attempt: service.job(job).attempt == number, "the next attempt")
        worker = service.worker()
        os.kill(worker, signal.SIGKILL)
        until(lambda pid=worker: not alive(pid), "its end")
    ended = service.end(job)
    assert (ended.state, ended.attempt) == (rpb.JOB_STATE_FAILED, 3)
    assert ended.error.reason == "WORKER_LOST"
    assert "SIGKILL" in ended.error.message
    assert "3 times" in ended.error.message
    service.tidies_up()
    assert service.published() == []
    cache.release()
    assert service.ingest(papers).attempt == 1


def test_a_worker_that_falls_silent_is_replaced(serve: Serve, papers: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Attempts enough for a machine that is too busy to start a worker in that time.
    service = serve(worker_silence_seconds=3, max_job_attempts=30)
    job = service.start(papers)
    frozen = service.worker()
    os.kill(frozen, signal.SIGSTOP)
    ended = service.end(job)
    assert not alive(frozen)
    assert ended.state == rpb.JOB_STATE_SUCCEEDED
    assert ended.attempt > 1
    assert "attempt 1: the worker process gave no sign of life for 3 s" in caplog.text


def test_a_service_that_can_start_no_process_fails_the_job_and_goes_on(
    service: Service, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/no/such/python")
        ended = service.fail(papers)
    assert (ended.attempt, ended.error.reason) == (3, "WORKER_LOST")
    assert "no worker process can be started" in ended.error.message
    assert service.ingest(papers).attempt == 1


def test_what_a_library_prints_in_a_worker_does_not_disturb_its_reports(
    service: Service, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "site", {"sitecustomize.py": NOISE})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    assert service.ingest(papers).attempt == 1


def test_a_service_that_is_killed_resumes_what_ran_and_what_waited(
    spawn: Spawn, papers: Path, cache: HeldCache
) -> None:
    service = spawn(max_workers=1)
    running, waiting = (service.start(papers, corpus=corpus) for corpus in ("first", "second"))
    service.standing(running)
    worker = service.worker()
    service.kill()
    until(lambda: not alive(worker), "the end of the worker, which must not outlive its service")

    service = spawn(max_workers=1)
    assert [job.job_id for job in service.jobs()] == [waiting.job_id, running.job_id]
    assert service.job(waiting).message == "waits for a worker, number 1 in line"
    cache.release()
    first, second = service.end(running), service.end(waiting)
    assert (first.state, first.attempt) == (rpb.JOB_STATE_SUCCEEDED, 2)
    assert (second.state, second.attempt) == (rpb.JOB_STATE_SUCCEEDED, 1)
    assert first.create_time == running.create_time
    assert service.published() == [first.result.index.corpus_id]
    assert [index.corpus for index in service.indexes()] == ["first", "second"]
    assert service.staged() == []


def test_a_job_that_was_interrupted_too_often_is_not_resumed(spawn: Spawn, papers: Path, cache: HeldCache) -> None:
    service = spawn(max_job_attempts=1)
    job = service.start(papers)
    service.standing(job)
    service.kill()
    service = spawn(max_job_attempts=1)
    ended = service.end(job)
    assert (ended.state, ended.attempt, ended.error.reason) == (rpb.JOB_STATE_FAILED, 1, "WORKER_LOST")
    assert ended.message == "interrupted once"
    assert service.workers() == []
    assert service.staged() == []


def test_a_restart_knows_the_jobs_of_before(serve: Serve, papers: Path) -> None:
    service = serve()
    jobs = [service.ingest(papers, request_id="mine"), service.fail(papers, model_name="no-such-model")]
    with service.held():
        cancelled = service.start(papers, corpus="cancelled")
        service.cancel(cancelled)
        jobs.append(service.end(cancelled))
    service.stop()

    service = serve()
    assert service.jobs() == jobs[::-1]
    for job in jobs:
        assert service.job(job) == job
        assert [message.job for message in service.watch(job)] == [job]
        assert service.cancel(job) == job
    assert service.start(papers, request_id="mine") == jobs[0]


def test_a_damaged_job_log_costs_only_its_damaged_lines(serve: Serve, papers: Path) -> None:
    service = serve()
    job = service.ingest(papers)
    service.stop()
    log = service.paths.job_log
    line = log.read_bytes().splitlines()[-1]
    document = json.loads(line) | {"job_id": "of-another-version", "new_field": [1]}
    del document["crc32"]
    later = json.dumps(document).encode()
    log.write_bytes(b'garbage\n{"job_id": "no-state"}\n\n' + log.read_bytes() + later + b"\n" + line[: len(line) // 2])

    for _ in range(2):
        service = serve()
        assert {known.job_id for known in service.jobs()} == {job.job_id, "of-another-version"}
        assert service.job(job) == job
        service.stop()
    assert len(log.read_bytes().splitlines()) == 2
    assert serve().ingest(papers).result.unchanged


def test_a_second_service_does_not_start_on_the_same_data(
    service: Service, papers: Path, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    before = service.ingest(papers)
    second = subprocess.run(
        [sys.executable, "-m", "ingest_service"],
        env=os.environ | environment(settings()),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"another IngestService writes to {service.paths.ingest_lock.parent}" in second.stderr
    assert "Traceback" not in second.stderr
    assert service.job(before) == before
    assert service.ingest(papers).result.unchanged


def test_what_a_crash_left_is_cleared_away(serve: Serve, papers: Path) -> None:
    service = serve()
    service.stop()
    write(service.paths.staging, {"job/passages.jsonl": "torn", "job.replaced/meta.json": "{}", "stray-file": "x"})
    data = service.paths.indexes.parent
    write(data, {f"{place}/.name.json.0123abcd": "{" for place in ("corpora", "jobs", "seen")})
    service = serve()
    assert service.staged() == []
    assert list(data.rglob("*.0123abcd")) == []
    assert service.ingest(papers).result.index.passage_count == 400


def test_frozen_workers_of_a_dead_service_end_when_they_thaw(spawn: Spawn, papers: Path, cache: HeldCache) -> None:
    service = spawn()
    job = service.start(papers)
    service.standing(job)
    worker = service.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        service.kill()
        cache.release()
        service = spawn()  # resumes the job while the worker of before is still there
        ended = service.end(job)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
    until(lambda: not alive(worker), "the end of the worker")
    assert ended.state == rpb.JOB_STATE_SUCCEEDED
    assert service.published() == [ended.result.index.corpus_id]
    assert service.ingest(papers).result.unchanged
    assert workers_of(service.pid) == []
