"""Both services for a benchmark, as a user starts them, with data of their own."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rag_client import IngestClient, QueryClient


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """Clients of both services, and their data directory."""

    ingest: IngestClient
    query: QueryClient
    data: Path


@contextmanager
def running_services(**settings: str) -> Iterator[Services]:
    """Starts `rag serve` on free ports in a temporary data directory; drains it at the end.

    `settings` go by the names of their variables.
    """
    rag = Path(sys.executable).parent / "rag"
    with TemporaryDirectory() as data, (Path(data) / "log").open("w") as log:
        command = [rag, "serve", "--json", "--data-dir", data]
        command += ["--ingest-address", "127.0.0.1:0", "--query-address", "127.0.0.1:0"]
        environment = os.environ | {"RAG_CORPUS_ROOTS": "/"} | settings
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as services:
            assert services.stdout
            try:
                ready = json.loads(services.stdout.readline())
                with IngestClient(ready["ingest_address"]) as ingest, QueryClient(ready["query_address"]) as query:
                    yield Services(ingest=ingest, query=query, data=Path(data))
            finally:
                services.send_signal(signal.SIGINT)
                services.wait()
