"""What holds for calls in general: deadlines, cancellation, the log, starting and stopping."""

import logging
import threading
from collections.abc import Callable, Sequence

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.extractive import ExtractiveGenerator
from rag_papers import __version__
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.paths import DataPaths
from rag_papers.rpc.channel import open_channel
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service, build


class SlowGenerator(ExtractiveGenerator):
    """Waits in the middle of a plan until it is told to go on."""

    identity = "slow-1"

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.left = threading.Event()

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        self.reached.set()
        assert self.go_on.wait(PATIENCE)
        self.left.set()
        return super().generate(assignment)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowGenerator:
    generator = SlowGenerator()
    monkeypatch.setitem(GENERATORS, "slow", lambda settings: generator)
    return generator


SLOW = pb.AskRequest(query="What is dropout?", config=pb.AskConfig(generator="slow"))


def test_a_client_that_goes_away_ends_the_plan_at_the_next_step(
    library: Service, slow: SlowGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    call = library.stub.Ask.future(SLOW)
    assert slow.reached.wait(PATIENCE)
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    library.ask("What is dropout?")  # by now the service knows that the other call was given up
    slow.go_on.set()
    assert slow.left.wait(PATIENCE)
    assert library.ask("What is batch normalization?").accepted
    assert library.counts()["answers"] == 2  # of the two that were waited for
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_deadline_that_passes_ends_the_plan_at_the_next_step(library: Service, slow: SlowGenerator) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        library.stub.Ask(SLOW, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    assert slow.reached.is_set()
    slow.go_on.set()
    assert slow.left.wait(PATIENCE)
    assert library.ask("What is batch normalization?").accepted
    assert library.counts()["answers"] == 1


def test_a_deadline_that_is_too_short_is_that_and_nothing_else(library: Service) -> None:
    for timeout in (0.0, 1e-9, 1e-4):
        with pytest.raises(grpc.RpcError) as caught:
            library.stub.Ask(pb.AskRequest(query="What is dropout?"), timeout=timeout)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]


def test_other_calls_are_served_while_one_is_busy(library: Service, slow: SlowGenerator) -> None:
    call = library.stub.Ask.future(SLOW)
    assert slow.reached.wait(PATIENCE)
    assert library.ask("What is dropout?").accepted
    assert library.stub.VacuumCache(pb.VacuumCacheRequest()).bytes_after > 0
    slow.go_on.set()
    assert call.result(PATIENCE).accepted


def test_the_log_has_the_trace_id_and_not_the_question(library: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        response = library.ask("What is dropout in Wonderland?")
        library.search("dropout in Wonderland")
        with pytest.raises(grpc.RpcError):
            library.ask("Wonderland?", corpus="nowhere")
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("ask: ANSWER_STATUS_") and response.corpus_id in message for message in messages)
    assert any(message.startswith("search: ") for message in messages)
    assert not any("wonderland" in message.lower() for message in messages)


def test_the_model_is_loaded_at_the_start(
    serve: Callable[..., Service], tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = DataPaths.of(Settings(data_dir=tmp_path / "data"))
    for corpus, fields in (("good", {}), ("bad", {"model_name": "no-such-model", "model_identity": "unknown"})):
        corpus_id = build(paths, {f"{corpus}.txt": f"A {corpus} paper says little."}, **fields)
        Corpora(paths.corpora).publish(corpus, Version(corpus_id=corpus_id, publish_time=1.0, job_id="job"))
    with caplog.at_level(logging.INFO):
        service = serve(query_threads=1)
        assert service.search("paper", corpus="good").sources  # waits for the one thread
    messages = [record.getMessage() for record in caplog.records]
    assert any("hashing-64" in message and "is loaded" in message for message in messages)
    assert any("no-such-model" in message and "not loaded" in message for message in messages)


def test_health_says_serving(service: Service) -> None:
    with open_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "rag_papers.v1.QueryService"):
            response = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_plan_says_what_ask_would_do(library: Service) -> None:
    for question, intent in (("What is dropout?", ""), ("dropout", ""), ("What is dropout?", "summarization")):
        plan = library.plan(question, intent=intent)
        asked = library.ask(question, intent=intent)
        assert plan.intent == asked.intent
        assert plan.intent_detected == (not intent)
        assert list(plan.steps[: len(asked.path)]) == list(asked.path)
        assert plan.config == asked.config


def test_plan_needs_no_repair_where_none_is_allowed(service: Service) -> None:
    assert "repair" in service.plan("What is dropout?").steps
    assert "repair" not in service.plan("What is dropout?", config=pb.AskConfig(max_repairs=0)).steps


def test_many_questions_at_once(library: Service) -> None:
    questions = [f"What is dropout of kind {number}?" for number in range(40)]
    calls = [library.stub.Ask.future(pb.AskRequest(query=question)) for question in questions]
    responses = [call.result(PATIENCE) for call in calls]
    assert len({response.trace_id for response in responses}) == len(questions)
    again = [library.ask(question) for question in questions]
    assert all(response.cache.answer_hit for response in again)
    assert [response.sentences for response in again] == [response.sentences for response in responses]


def test_search_is_retrieval_alone(library: Service) -> None:
    response = library.search("dropout", top_k=2)
    assert [source.rank for source in response.sources] == [1, 2]
    assert response.sources[0].score >= response.sources[1].score
    assert response.corpus == "library"
    assert set(response.timings_ms) == {"retrieve", "total"}
    for source in response.sources:
        passage = source.passage
        data = LIBRARY[passage.document_id].encode()
        assert data[passage.start_byte : passage.end_byte].decode() == passage.text
    words = library.search("dropout", vector_weight=0)
    assert all(source.vector_score == 0 and source.bm25_score > 0 for source in words.sources)
    vectors = library.search("dropout", bm25_weight=0)
    assert all(source.bm25_score == 0 for source in vectors.sources)
    assert len(vectors.sources) == 6


def test_info_says_what_the_service_has_to_work_with(serve: Callable[..., Service]) -> None:
    service, other = serve(), serve(generator="openai")
    response = service.stub.GetInfo(pb.QueryServiceGetInfoRequest())
    assert (response.info.version, response.generator, response.generator_problem) == (__version__, "extractive", "")
    assert response.info.data_dir == str(service.paths.indexes.parent)
    assert 0 < response.info.disk_free_bytes <= response.info.disk_total_bytes
    problem = other.stub.GetInfo(pb.QueryServiceGetInfoRequest()).generator_problem
    assert "RAG_OPENAI_BASE_URL" in problem
