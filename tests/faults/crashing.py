"""Points to die at, and what must hold after any number of deaths."""

import contextlib
import dataclasses
import re
import signal
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import verify
from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.ingest_harness import PATIENCE, Client, ServiceProcess, files_below

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}|.*\.(replaced|removed)")


class Faults:
    """What tests and `site/sitecustomize.py` tell each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, point: str) -> None:
        """Lets the next process that comes to `point` die there."""
        (self._folder / "armed").write_text(point)

    def armed(self) -> bool:
        """Whether nobody has died yet."""
        return (self._folder / "armed").exists()

    def hold(self, point: str) -> None:
        """Lets the processes that are started from now on wait when they come to `point`."""
        (self._folder / "held").write_text(point)

    def holding(self) -> bool:
        """Whether one waits there."""
        return (self._folder / "held").read_text() in self.passed()

    def release(self) -> None:
        """Lets it go on."""
        (self._folder / "held").unlink(missing_ok=True)

    def passed(self) -> list[str]:
        """The points that were come to, in order."""
        return [line for line in self._lines() if not line.startswith("computed ")]

    def computed(self) -> list[int]:
        """The sizes of the batches that were embedded, by all workers."""
        return [int(line.split()[1]) for line in self._lines() if line.startswith("computed ")]

    def forget(self) -> None:
        """Begins another list of points."""
        (self._folder / "passed").unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        path = self._folder / "passed"
        return path.read_text().splitlines() if path.exists() else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A data directory with one version of a corpus, and what an undisturbed ingest of the next version makes of it."""

    data: Path
    """To be copied, never used."""
    papers: Path
    """The next version of the papers."""
    old_corpus_id: str
    result: rpb.JobResult
    files: Mapping[str, bytes]
    """Of the next version's index."""
    computed: int
    """Texts that had to be embedded for it."""
    largest_batch: int
    points: tuple[str, ...]
    """Everything that its service and its worker came to."""

    def settings(self, data: Path) -> dict[str, Any]:
        """Those of services on a copy of the data."""
        return {"data_dir": data, "corpus_roots": (self.papers.parents[1],), "keep_versions": 1}


def counts(result: rpb.JobResult) -> rpb.JobResult:
    """What of a result is the same whatever happened on the way."""
    same = rpb.JobResult()
    same.CopyFrom(result)
    for field in ("index", "embed_hits", "embed_misses"):
        same.ClearField(field)  # type: ignore[arg-type]
    return same


def check_while_down(data: Path) -> None:
    """What a reader finds while the service is dead: one version, whole."""
    paths = DataPaths.of(Settings(data_dir=data))
    for corpus in Corpora(paths.corpora).all().values():
        assert verify(paths.indexes / corpus.active.corpus_id).corpus_id == corpus.active.corpus_id


def check(service: Client, scene: Scene, job: rpb.Job, batches: list[int], deaths: int) -> None:
    """What must hold when `job` has ended, after processes died `deaths` times; `batches` were embedded in all."""
    assert job.state == rpb.JOB_STATE_SUCCEEDED, job
    assert not job.result.unchanged
    assert {known.state for known in service.jobs()} == {rpb.JOB_STATE_SUCCEEDED}  # none is lost or stuck
    assert len(service.jobs()) == 2
    assert job.result.index.corpus_id == scene.result.index.corpus_id
    (index,) = service.indexes()
    assert index == job.result.index
    # A crash may leave the version before, out of the history and not deleted yet.
    orphans = service.stub.CollectIndexes(pb.CollectIndexesRequest(), timeout=PATIENCE).corpus_ids
    assert list(orphans) in ([], [scene.old_corpus_id])
    assert service.published() == [scene.result.index.corpus_id]
    assert counts(job.result) == counts(scene.result)
    assert files_below(service.paths.indexes / scene.result.index.corpus_id) == scene.files
    request = pb.VerifyIndexRequest(corpus=index.corpus, corpus_id=index.corpus_id)
    assert service.stub.VerifyIndex(request, timeout=PATIENCE).index == index
    assert scene.computed <= sum(batches) <= scene.computed + deaths * scene.largest_batch
    service.tidies_up()
    data = service.paths.indexes.parent
    left = [path for path in data.rglob("*") if LEFTOVER.fullmatch(path.name)]
    assert [path for path in left if path.parent.name != "seen"] == []  # where the next start clears away
    assert list(service.workers()) == []


def request(scene: Scene) -> pb.StartIngestRequest:
    """Ingests the next version; may be sent again by who got no answer."""
    return pb.StartIngestRequest(corpus_dir=str(scene.papers), request_id="mine")


def worker_dies(point: str, service: Client, faults: Faults, scene: Scene) -> None:
    """The first worker of a job dies at `point`."""
    faults.arm(point)
    seen = [message.job for message in service.watch(service.stub.StartIngest(request(scene)).job)]
    job = seen[-1]
    if point != "worker send done 1 after":  # there the service may be the first to end it
        assert not faults.armed()
        assert job.attempt == 2
    assert all(a.progress <= b.progress and a.revision < b.revision for a, b in pairwise(seen))
    check(service, scene, job, faults.computed(), deaths=1)


def parser_dies(point: str, service: Client, faults: Faults, scene: Scene) -> None:
    """The first parser process dies at `point`, which costs its file a second reading and the job nothing."""
    faults.arm(point)
    job = service.end(service.stub.StartIngest(request(scene)).job)
    assert not faults.armed()
    assert job.attempt == 1
    check(service, scene, job, faults.computed(), deaths=0)


def service_dies(point: str, spawn: Callable[[], ServiceProcess], faults: Faults, scene: Scene, data: Path) -> None:
    """The service dies at `point` and is started again."""
    faults.arm(point)
    with contextlib.suppress(pytest.fail.Exception):  # it may die before it serves
        service = spawn()
        call = service.stub.StartIngest.future(request(scene))
        assert service.ended() == -signal.SIGKILL
        call.cancel()
    assert not faults.armed()
    check_while_down(data)
    service = spawn()
    job = service.end(service.stub.StartIngest(request(scene)).job)  # as a caller does that got no answer
    check(service, scene, job, faults.computed(), deaths=1)
