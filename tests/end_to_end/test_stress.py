"""Many clients, two server processes and a third process that writes: nobody gets an error or another's answer."""

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.paths import DataPaths
from rag_papers.rpc.channel import open_channel
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import query_pb2_grpc
from tests.end_to_end.test_processes import Pair
from tests.query_service.query_harness import PATIENCE, build

CLIENTS = 16
SUBJECTS = [f"{name}{number}ium" for number in range(6) for name in ("zorb", "quux", "plim", "farn")]
PAPERS = {
    f"{subject}.txt": f"The {subject} is a device that measures the {subject} field of a crystal. It was built in 1987."
    for subject in SUBJECTS
}
WRITER = """
import os, sys
from pathlib import Path
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
store = SqliteStore(Path(sys.argv[1]))
print("writes", flush=True)
count = 0
while not Path(sys.argv[2]).exists():
    store.put_many(CacheTable.EMBEDDINGS, {os.urandom(32): os.urandom(1536) for _ in range(64)})
    count += 1
print(count)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path / "data")
    yield pair
    pair.end()


class Client:
    """One of them; it keeps its own connection and draws what it does."""

    def __init__(self, address: str, number: int) -> None:
        self._channel = open_channel(address)
        self._stub = query_pb2_grpc.QueryServiceStub(self._channel)
        self._random = random.Random(number)
        self.done: Counter[str] = Counter()

    def run(self, calls: int) -> Counter[str]:
        for _ in range(calls):
            draw = self._random.random()
            kind = "ask" if draw < 0.5 else "stream" if draw < 0.75 else "refresh" if draw < 0.85 else "stats"
            kind = "purge" if draw > 0.97 else kind
            getattr(self, f"_{kind}")()
            self.done[kind] += 1
        self._channel.close()
        return self.done

    def _request(self, **fields: bool) -> tuple[str, pb.AskRequest]:
        subject = self._random.choice(SUBJECTS)
        return subject, pb.AskRequest(query=f"What is the {subject}?", corpus="papers", **fields)

    def _ask(self, **fields: bool) -> None:
        subject, request = self._request(**fields)
        self._check(subject, self._stub.Ask(request, timeout=PATIENCE))

    def _refresh(self) -> None:
        self._ask(refresh=True)

    def _stream(self) -> None:
        subject, request = self._request()
        *messages, last = self._stub.AskStream(request, timeout=PATIENCE)
        self._check(subject, last.done)
        assert "".join(message.text_delta for message in messages) == last.done.answer

    def _stats(self) -> None:
        tables = self._stub.GetCacheStats(pb.GetCacheStatsRequest(), timeout=PATIENCE).tables
        assert tables["answers"].count <= len(SUBJECTS)

    def _purge(self) -> None:
        tables = self._random.choice((["answers"], ["retrieval"], ["answers", "retrieval"]))
        self._stub.PurgeCache(pb.PurgeCacheRequest(tables=tables), timeout=PATIENCE)

    @staticmethod
    def _check(subject: str, response: pb.AskResponse) -> None:
        assert response.status == pb.ANSWER_STATUS_ANSWERED
        assert subject in response.answer
        for sentence in response.sentences:
            for citation in sentence.citations:
                assert citation.document_id == f"{subject}.txt"


def stress(pair: Pair, data: Path, calls: int) -> None:
    paths = DataPaths.of(Settings(data_dir=data))
    Corpora(paths.corpora).publish(
        "papers", Version(corpus_id=build(paths, PAPERS), publish_time=time.time(), job_id="job")
    )
    address = pair.ready()
    end = data / "end"
    command = [sys.executable, "-c", WRITER, str(paths.cache_db), str(end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        try:
            assert writer.stdout.readline() == "writes\n"
            clients = [Client(address, number) for number in range(CLIENTS)]
            with ThreadPoolExecutor(CLIENTS) as threads:
                done = sum((future.result() for future in [threads.submit(c.run, calls) for c in clients]), Counter())
        finally:
            end.touch()
        assert int(writer.stdout.readline()) > 0
    assert done.total() == CLIENTS * calls
    assert all(done[kind] for kind in ("ask", "stream", "refresh", "stats", "purge"))
    assert "locked" not in pair.log()
    assert not [line for line in pair.log().splitlines() if " WARNING " in line or " ERROR " in line]
    with sqlite3.connect(paths.cache_db) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_mixed_calls(pair: Pair, tmp_path: Path) -> None:
    stress(pair, tmp_path / "data", 20)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_mixed_calls_for_long(pair: Pair, tmp_path: Path) -> None:
    stress(pair, tmp_path / "data", 500)
