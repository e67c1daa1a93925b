import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_papers.settings import Settings
from tests.ingest_service.ingest_harness import Service, ServiceProcess

Serve = Callable[..., Service]
Spawn = Callable[..., ServiceProcess]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings of whoever runs the tests nor the network."""
    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The one directory that may be ingested, with all below it."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def settings(tmp_path: Path, root: Path) -> Callable[..., Settings]:
    """Settings for tests, some of them replaced."""

    def make(**changes: Any) -> Settings:
        usual: dict[str, Any] = {"data_dir": tmp_path / "data", "corpus_roots": (root,), "model": "hashing-64"}
        return Settings(**usual | changes)

    return make


@pytest.fixture
def serve(settings: Callable[..., Settings]) -> Iterator[Serve]:
    """Starts services in this process."""
    services: list[Service] = []

    def start(**changes: Any) -> Service:
        services.append(Service(settings(**changes)))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@pytest.fixture
def service(serve: Serve) -> Service:
    """A service with the settings for tests."""
    return serve()


@pytest.fixture
def spawn(settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Spawn]:
    """Starts services in processes of their own."""
    services: list[ServiceProcess] = []

    def start(prefix: tuple[str, ...] = (), **changes: Any) -> ServiceProcess:
        log = tmp_path / f"service-{len(services)}.log"
        services.append(ServiceProcess(settings(**changes), log, prefix))
        return services[-1]

    yield start
    for service in services:
        if service.process.poll() is None:
            service.end_with(signal.SIGKILL)
