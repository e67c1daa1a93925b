"""Questions that a language model answers, through the service."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from query_service.application import QueryApplication
from rag_client import QueryClient
from rag_papers.errors import InvalidRequest
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.chat_server import ChatServer, Reply, status, writes
from tests.query_service.query_harness import LIBRARY, Service, check_citations, refused

QUESTION = "What is transfer learning?"
SENTENCE = "Transfer learning is the use of knowledge from a source task to improve a target task."
OPENAI = pb.AskConfig(generator="openai")


@pytest.fixture
def ask_model(serve: Callable[..., Service]) -> Iterator[Callable[..., tuple[Service, ChatServer]]]:
    """A service that answers from the library, and the endpoint that it asks."""
    servers: list[ChatServer] = []

    def start(*replies: Reply, **settings: str) -> tuple[Service, ChatServer]:
        servers.append(ChatServer(*replies))
        service = serve(**{"openai_base_url": servers[-1].url, "openai_model": "tiny"} | settings)
        service.publish("library", LIBRARY)
        return service, servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_what_the_model_marks_is_cited_and_verified(ask_model):
    service, server = ask_model(writes(f"{SENTENCE} [1]"))
    response = service.ask(QUESTION, config=OPENAI)
    assert response.answer == SENTENCE
    assert response.status == pb.ANSWER_STATUS_ANSWERED
    assert response.generator.startswith("openai-") and "tiny" in response.generator
    check_citations(response, LIBRARY)
    assert f"Question: {QUESTION}" in server.requests[0]["messages"][1]["content"]


def test_a_falsehood_is_not_accepted(ask_model):
    service, server = ask_model(writes("Transfer learning is the breeding of 17 source rabbits for a target zoo. [1]"))
    response = service.ask(QUESTION, config=OPENAI)
    assert response.status == pb.ANSWER_STATUS_PARTIAL
    assert pb.ANSWER_ISSUE_UNSUPPORTED in response.issues
    assert not response.sentences[0].supported
    assert [request["temperature"] for request in server.requests] == [0.2, 0.1]  # the repair is the stricter one


def test_that_the_papers_do_not_say_is_an_abstention(ask_model):
    service, _ = ask_model(writes("The papers do not say."))
    with QueryClient(service.address) as client:
        *_, done = client.ask_stream(QUESTION, config=OPENAI)
    assert done.done.status == pb.ANSWER_STATUS_ABSTAINED
    assert done.done.answer == "The papers do not say." and not done.done.sentences


def test_the_pieces_of_a_stream_are_the_answer(ask_model):
    service, _ = ask_model(writes(f"{SENTENCE} [1] It helps where data are scarce [1]."))
    config = pb.AskConfig(generator="openai", max_repairs=0)
    with QueryClient(service.address) as client:
        messages = list(client.ask_stream(QUESTION, config=config))
    deltas = [message.text_delta for message in messages if message.WhichOneof("event") == "text_delta"]
    assert deltas == [SENTENCE, " It helps where data are scarce."]
    assert "".join(deltas) == messages[-1].done.answer


def test_an_answer_is_cached_under_its_model(ask_model, serve):
    service, server = ask_model(writes(f"{SENTENCE} [1]"))
    hits = [service.ask(QUESTION, config=OPENAI).cache.answer_hit for _ in range(2)]
    other = serve(openai_base_url=server.url, openai_model="other")
    hits.append(other.ask(QUESTION, config=OPENAI).cache.answer_hit)
    hits.append(service.ask(QUESTION, config=pb.AskConfig(generator="extractive")).cache.answer_hit)
    assert hits == [False, True, False, False]
    assert len(server.requests) == 2


def test_the_setting_names_the_generator_of_questions_that_name_none(ask_model):
    service, server = ask_model(writes(f"{SENTENCE} [1]"), generator="openai")
    assert service.plan(QUESTION).config.generator == service.ask(QUESTION).config.generator == "openai"
    assert service.ask(QUESTION, config=pb.AskConfig(generator="extractive")).generator.startswith("extractive")
    assert len(server.requests) == 1


def test_a_failure_is_no_answer_and_is_not_cached(ask_model):
    service, _ = ask_model(status(400, "too long"), writes(f"{SENTENCE} [1]"))
    code, error = refused(lambda: service.ask(QUESTION, config=OPENAI))
    assert (code, error.reason) == (grpc.StatusCode.ABORTED, "GENERATOR_FAILED")
    assert "too long" in error.message
    assert service.ask(QUESTION, config=OPENAI).answer == SENTENCE


def test_what_is_not_configured_is_refused(library):
    code, error = refused(lambda: library.ask(QUESTION, config=OPENAI))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GENERATOR_UNAVAILABLE")
    assert "RAG_OPENAI_BASE_URL" in error.message


def test_a_setting_that_names_no_generator_is_refused_at_the_start(tmp_path):
    with pytest.raises(InvalidRequest, match="RAG_GENERATOR: 'oracle' is none of extractive, openai"):
        QueryApplication(Settings(data_dir=tmp_path, generator="oracle"))
