import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import (
    PATIENCE,
    Client,
    HeldCache,
    Service,
    alive,
    beir,
    environment,
    until,
    workers_of,
    write,
)

MANY = 8000  # papers that take long enough to embed to be interrupted


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"corpus.jsonl": beir(400)})


@pytest.fixture
def cache(settings: Callable[..., Settings]) -> Iterator[HeldCache]:
    """The lock on the cache of the services to come."""
    with HeldCache(DataPaths.of(settings()).cache_db) as held:
        yield held


def kill_while_it_embeds(service: Client, cache: HeldCache, victim: int) -> int:
    """Kills a process when some of the vectors, not all, are stored; returns how many are."""
    worker = service.worker()
    cache.release()
    until(cache.embeddings, "stored vectors")
    os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(worker), "the end of the worker")
    stored = cache.embeddings()
    assert 0 < stored < MANY
    return stored


def test_a_worker_that_is_killed_is_replaced_and_embeds_only_what_is_missing(
    service: Service, papers: Path, cache: HeldCache
) -> None:
    write(papers, {"corpus.jsonl": beir(MANY)})
    job = service.start(papers)
    service.standing(job)
    stream = service.watch(job)
    stored = kill_while_it_embeds(service, cache, service.worker())
    seen = [message.job for message in stream]
    ended = seen[-1]
    assert (ended.state, ended.attempt) == (rpb.JOB_STATE_SUCCEEDED, 2)
    assert (ended.result.embed_hits, ended.result.embed_misses) == (stored, MANY - stored)
    assert all(a.progress <= b.progress and a.revision < b.revision for a, b in pairwise(seen))
    assert service.published() == [ended.result.index.corpus_id]
    assert service.staged() == []


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


def test_a_worker_that_dies_in_the_middle_of_a_report_is_replaced(spawn: Spawn, root: Path) -> None:
    """Its reports are longer than a pipe holds, and the service reads nothing until the worker is dead."""
    deep = "/".join(["论" * 80] * 4)
    papers = write(root / "papers", {f"{deep}/{number}.txt": b"\xff" for number in range(100)})
    write(papers, {"論.jsonl": beir(MANY)})  # read last, so that more reports follow
    service = spawn()
    job = service.start(papers)
    until(lambda: service.job(job).stage == rpb.JOB_STAGE_SCAN, "a job that scans")
    worker = service.worker()
    os.kill(service.pid, signal.SIGSTOP)
    with Path(f"/proc/{worker}/fd/1").open("wb", buffering=0) as pipe:
        size = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)

        def unread() -> int:
            return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])

        until(lambda: unread() > size - 4096, "a report that waits for its reader")
        os.kill(worker, signal.SIGKILL)
    os.kill(service.pid, signal.SIGCONT)
    ended = service.end(job)
    assert (ended.state, ended.attempt) == (rpb.JOB_STATE_SUCCEEDED, 2), ended.error


def test_a_service_that_is_killed_resumes_its_jobs_and_publishes_one_version(
    spawn: Spawn, papers: Path, cache: HeldCache
) -> None:
    write(papers, {"corpus.jsonl": beir(MANY)})
    service = spawn(max_workers=1)
    running, waiting = (service.start(papers, corpus=corpus) for corpus in ("first", "second"))
    service.standing(running)
    stored = kill_while_it_embeds(service, cache, service.pid)
    service.ended()

    service = spawn(max_workers=1)
    assert [job.job_id for job in service.jobs()] == [waiting.job_id, running.job_id]
    first, second = service.end(running), service.end(waiting)
    assert (first.state, first.attempt) == (rpb.JOB_STATE_SUCCEEDED, 2)
    assert (first.result.embed_hits, first.result.embed_misses) == (stored, MANY - stored)
    assert (second.state, second.attempt) == (rpb.JOB_STATE_SUCCEEDED, 1)
    assert first.create_time == running.create_time
    assert service.published() == [first.result.index.corpus_id]
    assert [index.corpus for index in service.indexes()] == ["first", "second"]
    assert service.staged() == []


def test_a_worker_does_not_outlive_its_service(spawn: Spawn, papers: Path, cache: HeldCache) -> None:
    service = spawn(max_workers=2)
    for corpus in ("first", "second"):
        service.standing(service.start(papers, corpus=corpus))
    workers = service.workers()
    assert len(workers) == 2
    service.kill()
    until(lambda: not any(map(alive, workers)), "the end of the workers")


def test_a_job_that_was_interrupted_too_often_is_not_resumed(spawn: Spawn, papers: Path, cache: HeldCache) -> None:
    service = spawn(max_job_attempts=2)
    job = service.start(papers)
    for _ in range(2):
        service.standing(job)
        service.worker()
        service.kill()
        service = spawn(max_job_attempts=2)
    ended = service.end(job)
    assert (ended.state, ended.attempt, ended.error.reason) == (rpb.JOB_STATE_FAILED, 2, "WORKER_LOST")
    assert service.workers() == []
    assert service.staged() == []


def test_sigterm_drains_and_the_job_goes_on_after_the_restart(spawn: Spawn, papers: Path, cache: HeldCache) -> None:
    service = spawn()
    job = service.start(papers)
    standing = service.standing(job)
    worker = service.worker()
    assert service.end_with(signal.SIGTERM) == 0
    assert not alive(worker)
    assert service.staged() == []
    assert "Traceback" not in service.log()

    service = spawn()
    cache.release()
    ended = service.end(job)
    assert ended.state == rpb.JOB_STATE_SUCCEEDED
    assert ended.attempt == 1  # an orderly shutdown is not held against the job
    assert ended.revision > standing.revision
    assert service.published() == [ended.result.index.corpus_id]
    assert service.end_with(signal.SIGINT) == 0


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
    later = line.replace(job.job_id.encode(), b"of-a-later-version").replace(b'{"job_id"', b'{"new_field":[1],"job_id"')
    log.write_bytes(b'garbage\n{"job_id": "no-state"}\n\n' + log.read_bytes() + later + b"\n" + line[: len(line) // 2])

    for _ in range(2):
        service = serve()
        assert {known.job_id for known in service.jobs()} == {job.job_id, "of-a-later-version"}
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


def test_what_a_crash_left_in_the_staging_directory_is_cleared_away(serve: Serve, papers: Path) -> None:
    service = serve()
    service.stop()
    write(service.paths.staging, {"job/passages.jsonl": "torn", "job.replaced/meta.json": "{}", "stray-file": "x"})
    service = serve()
    assert service.staged() == []
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
