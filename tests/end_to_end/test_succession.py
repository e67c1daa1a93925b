"""Two whole processes of QueryService, and the one that generates is killed: the other one answers."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import query_pb2_grpc
from tests.query_service.chat_server import ChatServer, waits, writes
from tests.query_service.query_harness import LIBRARY, PATIENCE, build, eventually

SENTENCE = "Transfer learning is the use of knowledge from a source task to improve a target task."
REQUEST = pb.AskRequest(query="What is transfer learning?", config=pb.AskConfig(generator="openai"))

Start = Callable[[str], tuple[subprocess.Popen[str], query_pb2_grpc.QueryServiceStub]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service over one data directory, with an endpoint that generates."""
    paths = DataPaths.of(Settings(data_dir=tmp_path))
    version = Version(corpus_id=build(paths, LIBRARY), publish_time=1.0, job_id="job")
    Corpora(paths.corpora).publish("library", version)
    processes: list[subprocess.Popen[str]] = []
    channels: list[grpc.Channel] = []

    def started(endpoint: str) -> tuple[subprocess.Popen[str], query_pb2_grpc.QueryServiceStub]:
        command = [sys.executable, "-m", "query_service", "--data-dir", str(tmp_path)]
        command += ["--query-address", "127.0.0.1:0", "--openai-base-url", endpoint, "--openai-model", "tiny"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout
        channels.append(grpc.insecure_channel(process.stdout.readline().removeprefix("ready ").strip()))
        return process, query_pb2_grpc.QueryServiceStub(channels[-1])

    yield started
    for channel in channels:
        channel.close()
    for process in processes:
        process.kill()
        process.wait(PATIENCE)
        if process.stdout:
            process.stdout.close()


def test_one_that_is_killed_while_it_generates_is_succeeded_by_one_that_waits(start: Start) -> None:
    endpoint = ChatServer(waits(threading.Event()), writes(f"{SENTENCE} [1]"))
    try:
        leader, leading = start(endpoint.url)
        _, following = start(endpoint.url)
        abandoned = leading.Ask.future(REQUEST, timeout=PATIENCE)
        eventually(lambda: len(endpoint.requests) == 1)
        waiting = [following.Ask.future(REQUEST, timeout=PATIENCE) for _ in range(3)]
        # One that had begun by itself would have an answer from the endpoint, which keeps the first request alone.
        assert following.Ask(pb.AskRequest(query="What is dropout?"), timeout=PATIENCE).answer
        assert len(endpoint.requests) == 1
        assert not any(call.done() for call in waiting)
        leader.kill()
        answers = [call.result() for call in waiting]
        assert {answer.answer for answer in answers} == {SENTENCE}
        assert [answer.cache.answer_hit for answer in answers].count(False) == 1
        assert len(endpoint.requests) == 2
        assert abandoned.code() is grpc.StatusCode.UNAVAILABLE
        assert following.Ask(REQUEST, timeout=PATIENCE).cache.answer_hit
    finally:
        endpoint.stop()
