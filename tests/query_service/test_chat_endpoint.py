"""The generator `openai` against a real server of the protocol, `transformers serve`, with a model made on the spot."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_client import QueryClient
from rag_papers.errors import DeadlineExceeded, GeneratorUnavailable
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service, check_citations

pytestmark = pytest.mark.soak

QUESTION = "What is transfer learning?"
PIECES = (
    "Transfer learning is the use",
    " of knowledge from a source task",
    " to improve a target task.",
    " [1]",
)
SENTENCE = "".join(PIECES[:-1])
CONFIG = pb.AskConfig(generator="openai", max_repairs=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.query_service.chat_model import make

    return make(tmp_path_factory.mktemp("model"), PIECES)


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server of that model answers."""
    if not all(importlib.util.find_spec(module) for module in ("fastapi", "uvicorn", "accelerate")):
        pytest.skip("transformers serve needs: pip install 'transformers[serving]' accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", str(model)]
    with (
        (tmp_path_factory.mktemp("endpoint") / "log").open("w+") as log,
        subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        try:
            end = time.monotonic() + PATIENCE
            while not _is_there(port):
                log.seek(0)
                assert server.poll() is None and time.monotonic() < end, log.read()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _is_there(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE).close()
    except OSError:
        return False
    return True


@pytest.fixture
def client(url: str, model: Path, serve: Callable[..., Service]) -> Iterator[QueryClient]:
    service = serve(openai_base_url=url, openai_model=str(model))
    service.publish("library", LIBRARY)
    with QueryClient(service.address) as client:
        yield client


def test_its_answer_is_cited_verified_and_accepted(client: QueryClient) -> None:
    response = client.ask(QUESTION, config=CONFIG)
    assert (response.answer, response.status) == (SENTENCE, pb.ANSWER_STATUS_ANSWERED)
    check_citations(response, LIBRARY)


def test_it_is_streamed(client: QueryClient) -> None:
    messages = list(client.ask_stream(QUESTION, config=CONFIG))
    assert "".join(message.text_delta for message in messages) == messages[-1].done.answer == SENTENCE


def test_a_deadline_ends_the_call_and_the_endpoint_goes_on_answering(client: QueryClient) -> None:
    with QueryClient(client.address, timeout=0.001) as hasty, pytest.raises(DeadlineExceeded):
        hasty.ask(QUESTION, config=CONFIG)
    assert client.ask(QUESTION, config=CONFIG).answer == SENTENCE


def test_a_model_that_is_not_there(url: str, serve: Callable[..., Service]) -> None:
    service = serve(openai_base_url=url.replace("/v1", "/v2"), openai_model="tiny")
    service.publish("library", LIBRARY)
    with QueryClient(service.address) as client, pytest.raises(GeneratorUnavailable, match="404"):
        client.ask(QUESTION, config=CONFIG)
