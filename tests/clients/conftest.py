import os
from collections.abc import Callable, Iterator

import click.testing
import pytest

from rag_client.cli import main
from tests.clients.scripted_server import ScriptedServer

Run = Callable[..., click.testing.Result]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor the terminal of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("RAG_") or name in {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}:
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture
def rag(server: ScriptedServer) -> Run:
    """Runs the command line against the scripted server."""
    addresses = {"RAG_INGEST_ADDRESS": server.address, "RAG_QUERY_ADDRESS": server.address}

    def run(*args: str, command: click.Command = main, **env: str) -> click.testing.Result:
        result = click.testing.CliRunner(env={**addresses, **env}).invoke(command, args)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
