"""A watch ends with its job, not with its connection."""

import asyncio
import threading

import pytest

from rag_client import AsyncIngestClient, Backoff, IngestClient
from rag_papers import errors
from rag_papers.v1 import ingest_pb2
from rag_papers.v1.resources_pb2 import Job, JobState
from tests.clients.scripted_server import ScriptedServer, failed, job, running, succeeded, until_cancelled

QUICK = Backoff(tries=3, first_pause=0.001, longest_pause=0.002)


def _blocking(address: str, after_revision: int = 0, backoff: Backoff = QUICK) -> list[Job]:
    with IngestClient(address, backoff=backoff) as client:
        return list(client.watch_job("3f7a", after_revision))


def _asyncio(address: str, after_revision: int = 0, backoff: Backoff = QUICK) -> list[Job]:
    async def run() -> list[Job]:
        async with AsyncIngestClient(address, backoff=backoff) as client:
            return [seen async for seen in client.watch_job("3f7a", after_revision)]

    return asyncio.run(run())


@pytest.fixture(params=[_blocking, _asyncio])
def watch(request):
    return request.param


def test_a_watch_yields_every_job_up_to_the_final_one(server, watch):
    jobs = [job(1), running(2, 0.3), succeeded(3)]
    server.on("WatchJob", jobs)
    assert watch(server.address) == jobs
    assert server.seen["WatchJob"] == [ingest_pb2.WatchJobRequest(job_id="3f7a", after_revision=0)]


@pytest.mark.parametrize("error", [errors.Draining("going down"), errors.Unreachable("gone")])
def test_a_broken_watch_goes_on_from_the_last_revision(server, watch, error):
    server.on("WatchJob", [job(1), running(2, 0.3), error], [error], [running(5, 0.6)], [succeeded(6)])
    assert [seen.revision for seen in watch(server.address)] == [1, 2, 5, 6]
    assert [request.after_revision for request in server.seen["WatchJob"]] == [0, 2, 2, 5]


def test_an_error_after_the_final_state_changes_nothing(server, watch):
    server.on("WatchJob", [succeeded(4), errors.Draining("going down")])
    assert [seen.revision for seen in watch(server.address)] == [4]


@pytest.mark.parametrize("breaks", [[errors.Draining("going down")], []])
def test_tries_are_bounded(server, watch, breaks):
    server.on("WatchJob", [running(2, 0.3), *breaks], breaks)
    with pytest.raises(errors.Draining):
        watch(server.address)
    assert len(server.seen["WatchJob"]) == 1 + QUICK.tries


def test_a_heartbeat_alone_does_not_renew_the_tries(server, watch):
    server.on("WatchJob", [running(2, 0.3), errors.Draining("going down")])
    with pytest.raises(errors.Draining):
        watch(server.address)
    assert len(server.seen["WatchJob"]) == 1 + QUICK.tries


def test_progress_renews_the_tries(server, watch):
    down = errors.Draining("going down")
    steps = [step for revision in range(2, 10) for step in ([running(revision, 0.3), down], [down], [down])]
    server.on("WatchJob", *steps, [succeeded(10)])
    assert watch(server.address)[-1].state == JobState.JOB_STATE_SUCCEEDED


def test_any_other_error_ends_the_watch(server, watch):
    server.on("WatchJob", [running(2, 0.3), errors.Draining("going down")], [errors.JobNotFound("no such job")])
    with pytest.raises(errors.JobNotFound):
        watch(server.address)
    assert len(server.seen["WatchJob"]) == 2


def test_a_watch_that_saw_nothing_fails_at_once(server, watch):
    server.on("WatchJob", [errors.Draining("going down")])
    with pytest.raises(errors.Draining):
        watch(server.address)
    assert len(server.seen["WatchJob"]) == 1


def test_a_watch_that_goes_on_from_a_revision_may_be_tried_again(server, watch):
    server.on("WatchJob", [errors.Draining("going down")], [succeeded(8)])
    assert [seen.revision for seen in watch(server.address, after_revision=7)] == [8]


def test_a_watch_outlives_a_restart_of_the_service(server, watch):
    restarted: list[ScriptedServer] = []

    def restart() -> None:
        server.stop()
        restarted.append(ScriptedServer(server.address, WatchJob=[succeeded(3)]))

    restarting = threading.Thread(target=restart)
    server.on("WatchJob", [running(2, 0.3), lambda _: restarting.start(), until_cancelled])
    patient = Backoff(tries=1000, first_pause=0.02, longest_pause=0.02)
    try:
        assert [seen.revision for seen in watch(server.address, backoff=patient)] == [2, 3]
        assert restarted[0].seen["WatchJob"][0].after_revision == 2
    finally:
        restarting.join()
        restarted[0].stop()


def test_leaving_a_watch_cancels_its_stream(server):
    cancelled = threading.Event()
    server.on("WatchJob", [lambda context: context.add_callback(cancelled.set), job(1), until_cancelled])
    with IngestClient(server.address) as client:
        watching = client.watch_job("3f7a")
        next(watching)
        watching.close()
        assert cancelled.wait(30)


@pytest.mark.parametrize("last", [succeeded(4), failed(4, "NO_PAPERS", "nothing to read")])
def test_ingest_waits_for_the_end_and_returns_it(server, last):
    server.on("StartIngest", ingest_pb2.StartIngestResponse(job=job(1)))
    server.on("WatchJob", [running(2, 0.3), last])

    async def asynchronously() -> Job:
        async with AsyncIngestClient(server.address) as client:
            return await client.ingest("/srv/papers", corpus="papers", use_cache=False)

    with IngestClient(server.address) as client:
        assert client.ingest("/srv/papers", corpus="papers", use_cache=False) == last
    assert asyncio.run(asynchronously()) == last
    assert [request.after_revision for request in server.seen["WatchJob"]] == [1, 1]
    assert {request.corpus for request in server.seen["StartIngest"]} == {"papers"}
