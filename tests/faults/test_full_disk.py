"""Disks without space: small file systems in memory that are filled up."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from ingest_service import seen
from rag_papers.persist.job_log import JobLog, JobState
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.settings import Settings
from rag_papers.v1 import resources_pb2 as rpb
from tests.faults.crashing import Faults
from tests.ingest_service.building import Data
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import Client, beir, refused, until, write
from tests.query_service import query_harness

KIB = 1 << 10
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class Disk:
    """A file system of its own."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Takes all space but `leave` bytes."""
        with self._ballast.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(bytes(64 * KIB)):
                    pass
            file.truncate(file.tell() - leave)

    def free(self) -> None:
        self._ballast.unlink()


Mount = Callable[[str, int], Disk]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a directory below that of the test a file system of so many KiB. To be asked for before services are."""
    mounted: list[Path] = []

    def make(name: str, kib: int) -> Disk:
        path = tmp_path / name
        path.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", path], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return Disk(path)

    try:
        yield make
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def old(root: Path) -> Path:
    return write(root / "old" / "papers", {"a.txt": "The old version is about dropout."})


@pytest.fixture
def new(root: Path) -> Path:
    return write(root / "new" / "papers", {"corpus.jsonl": beir(400)})


@pytest.fixture
def asked(settings: Callable[..., Settings]) -> Iterator[Callable[[], str]]:
    """The version from which a QueryService answers."""
    services: list[query_harness.Service] = []

    def ask() -> str:
        if not services:
            services.append(query_harness.Service(settings()))
        return services[0].search("dropout", corpus="papers").corpus_id

    yield ask
    for service in services:
        service.stop()


def fails(service: Client, papers: Path) -> rpb.Job:
    """Runs a job for which there is no space."""
    job = service.fail(papers)
    assert job.error.reason == "DISK_FULL", job
    assert "no space left" in job.error.message
    assert job.attempt == 1
    service.tidies_up()
    return job


def test_under_the_index_that_is_built(
    mount: Mount, serve: Serve, old: Path, new: Path, asked: Callable[[], str]
) -> None:
    disk = mount("data/indexes", 2048)
    service = serve()
    before = service.ingest(old).result.index
    for kib in (0, 40, 120, 220):  # the files it writes have 260 KiB
        disk.fill(leave=kib * KIB)
        fails(service, new)
        assert service.index(corpus="papers") == before
        assert asked() == before.corpus_id
        disk.free()
    after = service.ingest(new).result.index
    assert service.index(corpus="papers") == after
    assert asked() == after.corpus_id


def test_under_the_pointer(mount: Mount, serve: Serve, old: Path, new: Path, asked: Callable[[], str]) -> None:
    disk = mount("data/corpora", 64)
    service = serve()
    before = service.ingest(old).result.index
    disk.fill()
    fails(service, new)
    assert service.index(corpus="papers") == before
    assert asked() == before.corpus_id
    assert sorted(path.name for path in service.paths.corpora.glob("[!.]*")) == ["ballast", "papers.json"]
    disk.free()
    job = service.ingest(new)
    assert (job.result.embed_misses, job.result.unchanged) == (0, False)
    assert asked() == job.result.index.corpus_id


def test_under_what_is_remembered_of_the_files_costs_their_being_read_again(
    mount: Mount, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(seen, "_SETTLED_NS", -(10**18))  # files are remembered however young they are
    disk = mount("data/seen", 64)
    data = Data(path=tmp_path / "data")
    disk.fill()
    published = data.ingest(old)
    assert "the next ingest reads again what this one did" in caplog.text
    assert [path.name for path in (data.path / "seen").iterdir()] == ["ballast"]
    disk.free()
    again = data.ingest(old)
    assert (again.corpus_id, again.staged) == (published.corpus_id, False)
    assert len(list((data.path / "seen").iterdir())) == 1


def test_under_the_cache_costs_the_cache_alone(mount: Mount, serve: Serve, old: Path, new: Path) -> None:
    disk = mount("data/cache", 2048)
    service = serve()
    disk.fill()
    assert service.ingest(old).result.embed_misses == 1
    disk.free()
    service.ingest(write(old, {"b.txt": "One more."}))  # makes the tables
    disk.fill(leave=200 * KIB)  # not enough for all of them
    assert service.ingest(new).result.embed_misses == 400
    stored = embeddings(service)
    assert stored < 401
    disk.free()
    assert service.ingest(write(new, {"corpus.jsonl": beir(400, words=7)})).result.embed_misses == 400
    assert embeddings(service) == stored + 400


def embeddings(service: Client) -> int:
    """How many vectors are stored."""
    store = SqliteStore(service.paths.cache_db)
    try:
        return store.stats()[CacheTable.EMBEDDINGS].count
    finally:
        store.close()


@pytest.fixture
def deep(root: Path) -> Path:
    """Papers whose path is so long that every line of their jobs needs more space than is left in a block."""
    return write(root.joinpath(*["d" * 250] * 15), {"corpus.jsonl": beir(400)})


def test_under_the_job_log_refuses_jobs(mount: Mount, serve: Serve, old: Path, deep: Path) -> None:
    disk = mount("data/jobs", 256)
    service = serve()
    known = service.ingest(old)
    disk.fill()
    with refused(EXHAUSTED, "DISK_FULL") as refusal:
        service.start(deep, corpus="papers")
    assert "no space left" in refusal.message
    assert refusal.retry_seconds > 0
    assert service.jobs() == [known]
    disk.free()
    assert service.ingest(deep, corpus="papers").attempt == 1


def test_under_the_job_log_while_a_job_runs_fails_it_before_it_publishes(
    mount: Mount, serve: Serve, old: Path, deep: Path
) -> None:
    disk = mount("data/jobs", 256)
    service = serve()
    before = service.ingest(old).result.index
    with service.held():
        job = service.start(deep, corpus="papers")
        service.standing(job)
        disk.fill()
    ended = service.end(job)
    assert (ended.state, ended.error.reason) == (rpb.JOB_STATE_FAILED, "DISK_FULL")
    assert service.index(corpus="papers") == before
    disk.free()
    service.stop()  # which writes what the log could not take
    assert [known.state for known in JobLog(service.paths.job_log).load()] == [JobState.SUCCEEDED, JobState.FAILED]
    service = serve()
    assert service.job(job) == ended
    assert service.ingest(deep, corpus="papers").result.embed_misses == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_under_the_job_log_when_a_job_has_published(
    mount: Mount, spawn: Spawn, faults: Faults, deep: Path, end: signal.Signals
) -> None:
    disk = mount("data/jobs", 256)
    faults.hold("service replace papers.json 1 before")
    service = spawn()
    job = service.start(deep, corpus="papers")
    until(faults.holding, "a job that publishes")
    disk.fill()
    faults.release()
    ended = service.end(job)
    assert ended.state == rpb.JOB_STATE_SUCCEEDED
    disk.free()
    service.end_with(end)

    service = spawn()
    known = service.job(job)
    assert (known.state, known.attempt, known.result) == (ended.state, ended.attempt, ended.result)
    assert (known == ended) == (end is signal.SIGTERM)


def test_under_everything(mount: Mount, spawn: Spawn, old: Path, deep: Path) -> None:
    disk = mount("data", 4096)
    service = spawn()
    before = service.ingest(old)
    disk.fill()
    with refused(EXHAUSTED, "DISK_FULL"):
        service.start(deep, corpus="papers")
    disk.fill(leave=120 * KIB)
    job = service.fail(deep, corpus="papers")
    assert job.error.reason == "DISK_FULL"
    service.kill()

    service = spawn()  # the log has how the job ended: what it had written was removed first
    assert service.jobs() == [job, before]
    assert service.index(corpus="papers") == before.result.index
    disk.free()
    assert service.ingest(deep, corpus="papers").attempt == 1
