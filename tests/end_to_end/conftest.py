"""The pair as a user runs it: `rag serve` in a process of its own, and `rag` commands against it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "corpus"
BIN = Path(sys.executable).parent


class Pair:
    """Both services, and the command line that talks to them."""

    def __init__(self, directory: Path, model: str, **settings: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._environment = os.environ | {
            "RAG_CORPUS_ROOTS": os.pathsep.join(map(str, (directory, ROOT, *_collections()))),
            "RAG_MODEL": model,
            "HF_HUB_OFFLINE": "1",
            **settings,
        }
        self._log = (directory / "services.log").open("w")
        self._services: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [BIN / "rag", "serve", "--json", "--data-dir", self.data]
        command += ["--ingest-address", "127.0.0.1:0", "--query-address", "127.0.0.1:0"]
        self._services = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=self._environment
        )
        assert self._services.stdout
        ready = json.loads(self._services.stdout.readline())
        self._environment |= {
            "RAG_INGEST_ADDRESS": ready["ingest_address"],
            "RAG_QUERY_ADDRESS": ready["query_address"],
        }

    def stop(self) -> int:
        """Ctrl-C, and the exit code that follows it."""
        assert self._services and self._services.stdout
        self._services.send_signal(signal.SIGINT)
        code = self._services.wait()
        self._services.stdout.close()
        self._services = None
        return code

    def close(self) -> None:
        if self._services:
            self.stop()
        self._log.close()

    def log(self) -> str:
        return (self.directory / "services.log").read_text()

    def run(self, *arguments: str | Path, command: str = "rag") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command, *arguments],
            capture_output=True,
            text=True,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            cwd=self.directory,
            check=False,
        )

    def json(self, *arguments: str | Path) -> Any:
        """The response of a command that must succeed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr + self.log()
        return json.loads(done.stdout)


def _collections() -> list[Path]:
    return [Path(path)] if (path := os.environ.get("RAG_TEST_COLLECTIONS")) else []


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair with the built-in encoder, which needs no model."""
    services = Pair(tmp_path_factory.mktemp("pair"), "hashing-256")
    services.start()
    yield services
    services.close()


@pytest.fixture(scope="module")
def model_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair with the real model."""
    services = Pair(tmp_path_factory.mktemp("model"), "all-MiniLM-L6-v2")
    services.start()
    yield services
    services.close()
