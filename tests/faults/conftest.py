import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_papers.settings import Settings
from tests.faults.crashing import Faults, Scene
from tests.ingest_service import pdfs
from tests.ingest_service.conftest import plain_environment, root, serve, service, settings, spawn
from tests.ingest_service.ingest_harness import Service, ServiceProcess, files_below, write

__all__ = ("plain_environment", "root", "serve", "service", "settings", "spawn")

SITE = Path(__file__).parent / "site"

LAST_DOCUMENTS = 150
"""More than a few batches."""

HTML = "<html><head><title>A page</title></head><body><h1>A page</h1><p>It has one sentence, {}.</p></body></html>"


def _watched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Faults:
    folder.mkdir()
    monkeypatch.setenv("FAULTS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(SITE), prepend=os.pathsep)
    return Faults(folder)


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The processes that are started from now on die where this says."""
    return _watched(monkeypatch, tmp_path / "faults")


def _papers(root: Path, version: int) -> Path:
    lines = (
        f'{{"_id": "d{n}", "title": "", "text": "Part {version} of study {n} is about {"x" * (n % 40)}."}}\n'
        for n in range(40 if version == 1 else LAST_DOCUMENTS)
    )
    files = {
        "a.txt": "A paper that stays as it is.",
        "b.md": f"# Version {version}\n\nA paper that changes.\n",
        "corpus.jsonl": "".join(lines),
    }
    return write(root / f"{version}" / "papers", files)


def confined(version: int) -> dict[str, str | bytes]:
    """Papers that the worker has a process for."""
    return {"c.html": HTML.format(version), "d.pdf": pdfs.plain(f"A page of version {version}.", "Another one.")}


def scene_of(folder: Path, more: Callable[[int], dict[str, str | bytes]] = lambda _: {}) -> Scene:
    """Ingests two versions, the second one in a copy of the data; `more` are further files of each."""
    root = folder / "root"
    first, second = (write(_papers(root, version), more(version)) for version in (1, 2))
    usual: dict[str, Any] = {"corpus_roots": (root,), "model": "hashing-64", "keep_versions": 1}
    with pytest.MonkeyPatch.context() as monkeypatch:
        service = Service(Settings(data_dir=folder / "data", **usual))
        old = service.ingest(first).result.index.corpus_id
        service.stop()
        shutil.copytree(folder / "data", folder / "undisturbed")
        faults = _watched(monkeypatch, folder / "faults")
        process = ServiceProcess(Settings(data_dir=folder / "undisturbed", **usual), folder / "undisturbed.log")
        try:
            job = process.ingest(second)
            index = process.paths.indexes / job.result.index.corpus_id
        finally:
            process.kill()
    return Scene(
        data=folder / "data",
        papers=second,
        old_corpus_id=old,
        result=job.result,
        files=files_below(index),
        computed=sum(faults.computed()),
        largest_batch=max(faults.computed()),
        points=tuple(faults.passed()),
    )


@pytest.fixture(scope="module")
def every_format(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Papers that the worker reads, and papers that have a process of their own."""
    return scene_of(tmp_path_factory.mktemp("every"), confined)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Small papers in formats that need no parser process."""
    return scene_of(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def data(tmp_path: Path, scene: Scene) -> Path:
    """A copy of the scene's data."""
    return Path(shutil.copytree(scene.data, tmp_path / "data"))
