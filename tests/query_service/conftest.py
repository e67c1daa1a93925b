import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_papers.settings import Settings
from tests.query_service.query_harness import LIBRARY, SAMPLE, Service


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings of whoever runs the tests nor the network."""
    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services over one data directory."""
    services: list[Service] = []

    def start(**changes: Any) -> Service:
        services.append(Service(Settings(data_dir=tmp_path / "data", model="hashing-64", **changes)))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@pytest.fixture
def service(serve: Callable[..., Service]) -> Service:
    """A service without data."""
    return serve()


@pytest.fixture
def library(service: Service) -> Service:
    """A service that answers from three little papers."""
    service.publish("library", LIBRARY)
    return service


@pytest.fixture(scope="session")
def sample_documents() -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in sorted(SAMPLE.iterdir())}


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory, sample_documents: dict[str, str]) -> Iterator[Service]:
    """A service that answers from the sample papers with the real model."""
    service = Service(Settings(data_dir=tmp_path_factory.mktemp("papers"), model="all-MiniLM-L6-v2"))
    service.publish("papers", sample_documents, model="all-MiniLM-L6-v2")
    yield service
    service.stop()
