"""Several processes of QueryService on one port: they start, answer, are replaced and drain together."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.paths import DataPaths
from rag_papers.rpc.channel import open_channel
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import query_pb2_grpc
from tests.query_service.query_harness import LIBRARY, PATIENCE, build, eventually

QUESTION = "What is transfer learning?"


class Pair:
    """Two processes and the one that looks after them."""

    def __init__(self, data: Path, *flags: str) -> None:
        paths = DataPaths.of(Settings(data_dir=data))
        corpus_id = build(paths, LIBRARY)
        Corpora(paths.corpora).publish("library", Version(corpus_id=corpus_id, publish_time=1.0, job_id="job"))
        command = [sys.executable, "-m", "query_service", "--data-dir", str(data), "--query-processes", "2", *flags]
        if "--query-address" not in flags:
            command += ["--query-address", "127.0.0.1:0"]
        data.mkdir(exist_ok=True)
        self._log = (data / "log").open("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def ready(self) -> str:
        """The address, once both serve."""
        assert self.process.stdout
        return self.process.stdout.readline().strip().removeprefix("ready ")

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        self._log.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.end()


def ask(address: str, query: str = QUESTION) -> pb.AskResponse:
    """Over a connection of its own, which either process may get."""
    with open_channel(address) as channel:
        return query_pb2_grpc.QueryServiceStub(channel).Ask(
            pb.AskRequest(query=query), timeout=PATIENCE, wait_for_ready=True
        )


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_processes_answer_share_what_they_know_and_are_replaced(pair: Pair) -> None:
    address = pair.ready()
    before = pair.children()
    assert len(before) == 2
    first = ask(address)
    # The kernel chooses by the client's port: of twenty connections both get some.
    assert all(ask(address).cache.answer_hit for _ in range(20))
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(set(pair.children()) - {before[0]}) == 2 and pair.log().count(" serves") == 3)
    assert all(ask(address).answer == first.answer for _ in range(20))
    pair.process.send_signal(signal.SIGTERM)
    assert pair.process.wait(PATIENCE) == 0
    assert "ended by itself (-9)" in pair.log()


def test_they_drain_when_the_one_that_looks_after_them_is_killed(pair: Pair) -> None:
    pair.ready()
    children = pair.children()
    pair.process.kill()
    eventually(lambda: all(map(gone, children)))
    assert pair.log().count("draining") == 2


def test_a_start_that_fails_ends_them_all(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "--reranker", "best-sentence", "--generator", "no-such-generator")
    assert pair.process.wait(PATIENCE) != 0
    assert pair.ready() == ""
    pair.end()


def test_a_port_that_another_one_has_is_not_shared_with_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        pair = Pair(tmp_path, "--query-address", f"127.0.0.1:{other.getsockname()[1]}")
        assert pair.process.wait(PATIENCE) == 1
        assert "cannot listen" in pair.log()
        pair.end()
