"""IngestService as the tests run it: in this process or in one of its own, with real workers, files and calls."""

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from ingest_service.application import IngestApplication
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.rpc.channel import open_channel
from rag_papers.rpc.server import RunningServer, start
from rag_papers.settings import Settings, env_name
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import ingest_pb2_grpc
from rag_papers.v1 import resources_pb2 as rpb

T = TypeVar("T")

PATIENCE = 60.0
"""How long something may take that must happen; a test that waits so long has failed."""

FINAL = (rpb.JOB_STATE_SUCCEEDED, rpb.JOB_STATE_FAILED, rpb.JOB_STATE_CANCELLED)

SAMPLE = Path(__file__).parents[2] / "data" / "corpus"


def until(condition: Callable[[], T], what: str) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for: {what}")
        time.sleep(0.005)
    return value


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes `files` below `root`, which is created, and returns it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def beir(count: int, words: int = 6) -> str:
    """A corpus.jsonl of `count` documents, a passage each."""
    filler = " ".join(f"w{number}" for number in range(words))
    lines = (f'{{"_id": "d{n}", "title": "", "text": "paper {n} is about {filler}"}}\n' for n in range(count))
    return "".join(lines)


def files_below(root: Path) -> dict[str, bytes]:
    """The bytes of every file below `root` by its relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Refusal:
    """The status of a refused call."""

    message = ""
    violations: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    retry_seconds = 0.0


@contextlib.contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[Refusal]:
    """Expects a call to be refused with `code` and one ErrorInfo with `reason`."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    call: Any = caught.value
    assert call.code() is code, call.details()
    status = rpc_status.from_call(call)
    assert status is not None
    refusal.message = status.message
    infos = []
    for detail in status.details:
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            infos.append((info.domain, info.reason))
            refusal.metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            refusal.violations = {violation.field: violation.description for violation in bad.field_violations}
        elif detail.Unpack(retry):
            refusal.retry_seconds = retry.retry_delay.ToMilliseconds() / 1000
    assert infos == [("rag-papers", reason)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def workers_of(pid: int) -> list[int]:
    """The worker processes of the service whose process is `pid`."""
    return _children(pid, b"ingest_service.worker")


def parsers_of(pid: int) -> list[int]:
    """The parser process, if there is one, of the worker whose process is `pid`."""
    return _children(pid, b"ingest_service.parser")


def _children(pid: int, module: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and module in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


class HeldCache:
    """The write lock of a cache database. Whoever embeds waits for it: workers stand still in the middle of a job.

    A worker gives a batch up after ten seconds, so a job that shall stand still for sure has many batches.
    """

    def __init__(self, cache_db: Path) -> None:
        store = SqliteStore(cache_db)
        store.stats()  # creates the tables
        store.close()
        self._connection = sqlite3.connect(cache_db, timeout=PATIENCE, isolation_level=None)
        self.held = False
        self.take()

    def take(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self.held = True

    def release(self) -> None:
        if self.held:
            self._connection.execute("ROLLBACK")
            self.held = False

    def embeddings(self) -> int:
        """How many vectors are stored."""
        return int(self._connection.execute(f"SELECT count(*) FROM {CacheTable.EMBEDDINGS}").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._connection.close()


class Client:
    """Blocking calls to a service."""

    def __init__(self, address: str, paths: DataPaths, pid: int) -> None:
        self.address = address
        self.paths = paths
        self.pid = pid
        self.channel = open_channel(address)
        self.stub = ingest_pb2_grpc.IngestServiceStub(self.channel)

    def start(self, directory: Path | str, **fields: Any) -> rpb.Job:
        """Queues a job."""
        return self.stub.StartIngest(
            pb.StartIngestRequest(corpus_dir=str(directory), **fields), timeout=PATIENCE, wait_for_ready=True
        ).job

    def job(self, job: rpb.Job) -> rpb.Job:
        """The job as it is now."""
        return self.stub.GetJob(pb.GetJobRequest(job_id=job.job_id), timeout=PATIENCE).job

    def watch(self, job: rpb.Job, after_revision: int = 0) -> Any:
        """The stream of a job."""
        request = pb.WatchJobRequest(job_id=job.job_id, after_revision=after_revision)
        return self.stub.WatchJob(request, timeout=PATIENCE)

    def end(self, job: rpb.Job) -> rpb.Job:
        """The job once it has ended."""
        last = [message.job for message in self.watch(job)][-1]
        assert last.state in FINAL
        return last

    def ingest(self, directory: Path | str, **fields: Any) -> rpb.Job:
        """Runs a job, which must succeed, to its end."""
        job = self.end(self.start(directory, **fields))
        assert job.state == rpb.JOB_STATE_SUCCEEDED, job
        return job

    def fail(self, directory: Path | str, **fields: Any) -> rpb.Job:
        """Runs a job, which must fail, to its end."""
        job = self.end(self.start(directory, **fields))
        assert job.state == rpb.JOB_STATE_FAILED, job
        return job

    def cancel(self, job: rpb.Job) -> rpb.Job:
        """Asks for a job to be cancelled."""
        return self.stub.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=PATIENCE).job

    def jobs(self, **fields: Any) -> list[rpb.Job]:
        """One page of the jobs."""
        return list(self.stub.ListJobs(pb.ListJobsRequest(**fields), timeout=PATIENCE).jobs)

    def indexes(self, **fields: Any) -> list[rpb.Index]:
        """One page of the versions."""
        return list(self.stub.ListIndexes(pb.ListIndexesRequest(**fields), timeout=PATIENCE).indexes)

    def index(self, **fields: Any) -> rpb.Index:
        """One version."""
        return self.stub.GetIndex(pb.GetIndexRequest(**fields), timeout=PATIENCE).index

    def healthy(self) -> bool:
        """Whether the service says that it serves."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        response = stub.Check(health_pb2.HealthCheckRequest(service=IngestApplication.name), timeout=PATIENCE)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def published(self) -> list[str]:
        """The names of the index directories."""
        return sorted(path.name for path in self.paths.indexes.iterdir() if not path.name.startswith("."))

    def staged(self) -> list[str]:
        """What lies in the staging directory."""
        return [path.name for path in self.paths.staging.iterdir()]

    def tidies_up(self) -> None:
        """Waits until the staging directory is empty, as it is a moment after the end of every job."""
        until(lambda: not self.staged(), "an empty staging directory")

    def workers(self) -> list[int]:
        """The worker processes that run."""
        return workers_of(self.pid)

    def worker(self) -> int:
        """A worker process, as soon as there is one."""
        return until(self.workers, "a worker")[0]

    def held(self) -> HeldCache:
        """Makes workers stand still in the middle of embedding."""
        return HeldCache(self.paths.cache_db)

    def standing(self, job: rpb.Job) -> rpb.Job:
        """The job once it stands still in the middle of embedding."""

        def embeds() -> rpb.Job | None:
            now = self.job(job)
            return now if now.stage == rpb.JOB_STAGE_VECTORS else None

        return until(embeds, "a job that embeds")


class Service(Client):
    """A service in this process, on an event loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service")
        self._thread.start()
        self._server: RunningServer | None = None
        try:
            self._server = self._call(start(IngestApplication(settings), "127.0.0.1:0"))
        except BaseException:
            self._end_loop()
            raise
        super().__init__(self._server.address, DataPaths.of(settings), os.getpid())

    def stop(self) -> None:
        """Drains and ends the service."""
        if self._loop.is_closed():
            return
        self.drain()()
        self.channel.close()
        self._end_loop()

    def _end_loop(self) -> None:
        self._call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drain(self) -> Callable[[], None]:
        """Begins to end the service; the result waits for the end."""
        if self._server is None:
            return lambda: None
        server, self._server = self._server, None
        return asyncio.run_coroutine_threadsafe(server.stop(PATIENCE), self._loop).result

    def tasks(self) -> int:
        """How many tasks the event loop holds."""

        async def count() -> int:
            return len(asyncio.all_tasks())

        return self._call(count())

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


class ServiceProcess(Client):
    """`python -m ingest_service`."""

    def __init__(self, settings: Settings, log: Path, prefix: tuple[str, ...] = ()) -> None:
        self._log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *prefix, "-m", "ingest_service"],
                env=os.environ | environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=log.parent,
            )
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        ready = re.fullmatch(r"ready (\S+:\d+)\n", line)
        if ready is None:
            self.process.stdout.close()
            self.process.wait(PATIENCE)
            pytest.fail(f"the service did not start: {line!r}\n{self.log()}")
        super().__init__(ready[1], DataPaths.of(settings), self.process.pid)

    def log(self) -> str:
        """What the service wrote to stderr."""
        return self._log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self.end_with(signal.SIGKILL)

    def end_with(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """The exit code, once there is one."""
        code = self.process.wait(PATIENCE)
        assert self.process.stdout
        self.process.stdout.close()
        self.channel.close()
        return code


def environment(settings: Settings) -> dict[str, str]:
    """`settings` as the variables that a service reads."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    values["ingest_address"] = "127.0.0.1:0"
    values["corpus_roots"] = os.pathsep.join(map(str, settings.corpus_roots))
    return {env_name(name): str(value) for name, value in values.items()}
