"""kill -9 of the service, of its workers and of their parsers, at points that matter."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.faults.crashing import (
    Faults,
    Scene,
    check,
    check_while_down,
    parser_dies,
    request,
    service_dies,
    worker_dies,
)
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import alive, parsers_of, until

WORKER = {
    "after the scan": "create passages.jsonl 1 before",
    "in the middle of parsing": "read corpus.jsonl 2 before",
    "in the middle of a .jsonl file": "line corpus.jsonl 2 after",
    "before the first vector": "create vectors.npy 1 before",
    "after counting words": "create bm25.scores.npy 1 before",
    "with an embedded batch that is not stored": "store embeddings 3 before",
    "between two batches": "store embeddings 3 after",
    "when some files are on the device": "fsync passages.jsonl 1 before",
    "before the manifest": "replace meta.json 1 before",
    "in the middle of telling that it is done": "send done 1 amid",
}

SERVICE = {
    "when it rewrites the job log at its start": "replace jobs.jsonl 1 before",
    "in the middle of a new job's line": "write jobs.jsonl 1 amid",
    "before the caller knows the job": "fsync jobs.jsonl 1 after",
    "before the index is in its place": "rename INDEX 1 before",
    "when the index is in its place": "rename INDEX 1 after",
    "before the pointer is swapped": "replace papers.json 1 before",
    "when the pointer is swapped": "replace papers.json 1 after",
    "when the old version is out of the history": "replace papers.json 2 after",
    "while it deletes the old version": "rename INDEX.removed 1 after",
    "in the middle of the line that ends the job": "write jobs.jsonl 4 amid",
}


PARSER = {
    "in the middle of a PDF": "page 1 1 before",
    "in the middle of its answer": "write answers 2 amid",
}

AMID_LINES = f"worker {WORKER['in the middle of a .jsonl file']}"


@pytest.mark.parametrize("point", WORKER.values(), ids=WORKER)
def test_a_worker_dies(point: str, serve: Serve, faults: Faults, scene: Scene, data: Path) -> None:
    assert f"worker {point}" in scene.points
    worker_dies(f"worker {point}", serve(**scene.settings(data)), faults, scene)


@pytest.mark.parametrize("point", SERVICE.values(), ids=SERVICE)
def test_the_service_dies(point: str, spawn: Spawn, faults: Faults, scene: Scene, data: Path) -> None:
    assert f"service {point}" in scene.points
    service_dies(f"service {point}", partial(spawn, **scene.settings(data)), faults, scene, data)


def test_a_job_that_had_published_has_succeeded_also_in_its_last_attempt(
    spawn: Spawn, faults: Faults, scene: Scene, data: Path
) -> None:
    once = partial(spawn, **scene.settings(data), max_job_attempts=1)
    service_dies("service replace papers.json 1 after", once, faults, scene, data)
    assert len([point for point in faults.passed() if point.startswith("worker send done 1 before")]) == 1


@pytest.mark.parametrize("point", PARSER.values(), ids=PARSER)
def test_a_parser_dies(point: str, serve: Serve, faults: Faults, every_format: Scene, tmp_path: Path) -> None:
    assert f"parser {point}" in every_format.points
    data = Path(shutil.copytree(every_format.data, tmp_path / "data"))
    parser_dies(f"parser {point}", serve(**every_format.settings(data)), faults, every_format)


def test_a_parser_dies_while_its_worker_reads_a_jsonl_file(
    serve: Serve, faults: Faults, every_format: Scene, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(every_format.data, tmp_path / "data"))
    faults.hold(AMID_LINES)
    service = serve(**every_format.settings(data))
    job = service.stub.StartIngest(request(every_format)).job
    until(faults.holding, "a worker amid the lines")
    (parser,) = parsers_of(service.worker())
    os.kill(parser, signal.SIGKILL)
    faults.release()
    check(service, every_format, service.end(job), faults.computed(), deaths=0)


def test_the_service_dies_while_its_worker_reads_a_jsonl_file(
    spawn: Spawn, faults: Faults, every_format: Scene, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(every_format.data, tmp_path / "data"))
    faults.hold(AMID_LINES)
    service = spawn(**every_format.settings(data))
    job = service.stub.StartIngest(request(every_format)).job
    until(faults.holding, "a worker amid the lines")
    worker = service.worker()
    orphans = [worker, *parsers_of(worker)]
    service.kill()
    check_while_down(data)
    until(lambda: not any(map(alive, orphans)), "the end of the worker and its parser")
    faults.release()
    service = spawn(**every_format.settings(data))
    ended = service.end(job)
    assert ended.attempt == 2
    check(service, every_format, ended, faults.computed(), deaths=1)
