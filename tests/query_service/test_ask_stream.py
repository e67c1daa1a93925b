"""AskStream: what Ask answers, told while it comes about."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.extractive import ExtractiveGenerator
from rag_client import AsyncQueryClient, QueryClient
from rag_papers.errors import CorpusNotFound, DeadlineExceeded, Internal, InvalidRequest
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import PATIENCE, Service, eventually
from tests.query_service.test_ask_cache import same

QUESTION = "What is transfer learning?"
HARD = "How does dropout reduce overfitting of huge models?"
FOREIGN = "Which volcano erupted in Iceland?"
STRICT = pb.AskConfig(accept_threshold=1)
ONE_ATTEMPT = pb.AskConfig(max_repairs=0)


@pytest.fixture
def client(library: Service) -> Iterator[QueryClient]:
    with QueryClient(library.address) as client:
        yield client


def kinds(messages: Sequence[pb.AskStreamResponse]) -> list[str]:
    return [message.WhichOneof("event") for message in messages]


def said(messages: Sequence[pb.AskStreamResponse]) -> str:
    return "".join(message.text_delta for message in messages)


class WritingGenerator(ExtractiveGenerator):
    """Says its answer in pieces of a few letters, and waits after the first one until it is told to go on."""

    identity = "writing-1"

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.ended: list[str] = []
        self.end = threading.Event()

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        try:
            draft = super().generate(assignment)
            text = " ".join(sentence.text for sentence in draft)
            assignment.say(text[:7])
            self.began.set()
            with assignment.stop.when_client_leaves(self.go_on.set):
                assert self.go_on.wait(PATIENCE)
            for start in range(7, len(text), 5):
                assignment.say(text[start : start + 5])
            self.ended.append("whole")
            return draft
        except DeadlineExceeded:
            self.ended.append("stopped")
            raise
        finally:
            self.end.set()


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> WritingGenerator:
    generator = WritingGenerator()
    monkeypatch.setitem(GENERATORS, "writing", lambda settings: generator)
    return generator


@pytest.mark.parametrize("config", [pb.AskConfig(), STRICT, ONE_ATTEMPT], ids=["default", "strict", "one attempt"])
@pytest.mark.parametrize("question", [QUESTION, HARD, FOREIGN])
def test_the_pieces_are_the_answer_on_a_miss_and_on_a_hit(
    library: Service, client: QueryClient, question: str, config: pb.AskConfig
) -> None:
    miss = list(client.ask_stream(question, config=config))
    hit = list(client.ask_stream(question, config=config))
    asked = library.ask(question, config=config)
    assert asked.cache.answer_hit
    for messages in (miss, hit):
        done = messages[-1].done
        assert said(messages) == done.answer == asked.answer
        assert same(done, asked)
        assert messages[0].started.config == done.config
        assert list(messages[0].started.steps[: len(done.path)]) == list(done.path)
        assert (messages[0].started.intent, messages[0].started.corpus_id) == (done.intent, done.corpus_id)
    assert not miss[-1].done.cache.answer_hit
    assert hit[-1].done.cache.answer_hit
    assert kinds(hit) == ["started", "retrieved", "text_delta", "verified", "done"]
    assert hit[1].retrieved.sources == asked.sources
    assert hit[3].verified == pb.AskVerified(score=asked.score, issues=asked.issues, accepted=asked.accepted)


def test_an_accepted_answer_comes_before_its_verdict(client: QueryClient) -> None:
    messages = list(client.ask_stream(QUESTION))
    assert kinds(messages) == ["started", "retrieved", "text_delta", "verified", "done"]
    assert messages[1].retrieved.sources == messages[-1].done.sources
    assert messages[3].verified.accepted
    assert messages[3].verified.score == messages[-1].done.score


def test_text_that_a_repair_may_replace_is_held_back(client: QueryClient) -> None:
    config = pb.AskConfig(accept_threshold=1, max_repairs=2)
    messages = list(client.ask_stream(HARD, config=config))
    attempt = ["retrieved", "verified"]
    assert kinds(messages) == ["started", *3 * attempt, "text_delta", "done"]
    assert not any(message.verified.accepted for message in messages)


def test_the_answer_of_a_repair_is_said_once(service: Service) -> None:
    documents = {
        "short.txt": "Glaciers move downhill each day.",
        "long.txt": "Glaciers leave a moraine downhill whenever warm summers melt more ice than cold winters bring "
        "down as snow, rain or hail upon steep slopes, broad shoulders, narrow ridges, rugged peaks, hidden bowls "
        "and windy saddles far above forests, meadows, villages and roads.",
    }
    service.publish("ice", documents, model="hashing-4096")
    config = pb.AskConfig(
        top_k_first=1,
        bm25_weight=0,
        accept_threshold=0.9,
        bm25_weight_on_repair=1,
        vector_weight_on_repair=0,
        abstain_threshold=0.3,
    )
    with QueryClient(service.address) as client:
        messages = list(client.ask_stream("glaciers downhill moraine", config=config))
    assert messages[-1].done.repair_used
    attempt = ["retrieved", "verified"]
    assert kinds(messages) == ["started", *attempt, "retrieved", "text_delta", "verified", "done"]
    assert said(messages) == documents["long.txt"]


def test_text_comes_while_it_is_written_where_nothing_can_replace_it(
    client: QueryClient, writing: WritingGenerator
) -> None:
    config = pb.AskConfig(generator="writing", max_repairs=0)
    stream = client.ask_stream(QUESTION, config=config)
    assert kinds([next(stream), next(stream)]) == ["started", "retrieved"]
    first = next(stream).text_delta
    assert not writing.ended
    writing.go_on.set()
    rest = list(stream)
    assert kinds(rest)[-3:] == ["text_delta", "verified", "done"]
    assert first == "Transfe"
    assert first + said(rest) == rest[-1].done.answer


def test_a_generator_that_says_more_than_it_answers_is_a_defect(
    client: QueryClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Boaster(ExtractiveGenerator):
        identity = "boaster-1"

        def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
            assignment.say("As everybody knows, ")
            return super().generate(assignment)

    monkeypatch.setitem(GENERATORS, "boaster", lambda settings: Boaster())
    with pytest.raises(Internal):
        list(client.ask_stream(QUESTION, config=pb.AskConfig(generator="boaster", max_repairs=0)))
    assert "boaster-1 said what is not in its answer" in caplog.text
    # What is held back until it is whole is the answer itself.
    assert client.ask(QUESTION, config=pb.AskConfig(generator="boaster")).answer.startswith("Transfer")


@pytest.mark.parametrize("max_repairs", [0, 1])
def test_a_client_that_cancels_stops_the_generator(
    library: Service, client: QueryClient, writing: WritingGenerator, max_repairs: int
) -> None:
    stream = client.ask_stream(QUESTION, config=pb.AskConfig(generator="writing", max_repairs=max_repairs))
    assert kinds([next(stream), next(stream)]) == ["started", "retrieved"]
    assert writing.began.wait(PATIENCE)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert writing.end.wait(PATIENCE)
    assert writing.ended == ["stopped"]
    assert client.ask(HARD).answer
    assert library.counts()["answers"] == 1


def test_a_client_that_vanishes_stops_the_generator(library: Service, writing: WritingGenerator) -> None:
    vanishing = QueryClient(library.address)
    stream = vanishing.ask_stream(QUESTION, config=pb.AskConfig(generator="writing", max_repairs=0))
    next(stream)
    assert writing.began.wait(PATIENCE)
    vanishing.close()
    assert writing.end.wait(PATIENCE)
    assert writing.ended == ["stopped"]


def test_a_client_that_does_not_read_keeps_nobody_waiting(serve: Callable[..., Service]) -> None:
    service = serve(query_threads=1)
    service.publish("long", {"a.txt": "Zyzzyva beetles are " + "very " * 30_000 + "small."})
    stream = service.stub.AskStream(
        pb.AskRequest(
            query="What are zyzzyva beetles?",
            config=pb.AskConfig(prune_max_chars=1_000_000, context_max_chars=1_000_000, max_repairs=0),
        )
    )
    for _ in range(3):
        assert service.ask("What are beetles?", use_cache=False).sources is not None
    assert kinds(list(stream))[-1] == "done"


def test_the_asyncio_client_streams_and_cancels(library: Service, writing: WritingGenerator) -> None:
    async def run() -> None:
        async with AsyncQueryClient(library.address) as client:
            messages = [message async for message in client.ask_stream(QUESTION)]
            assert kinds(messages) == ["started", "retrieved", "text_delta", "verified", "done"]
            assert said(messages) == messages[-1].done.answer
            stream = client.ask_stream(QUESTION, config=pb.AskConfig(generator="writing", max_repairs=0))
            await anext(stream)
            await asyncio.to_thread(writing.began.wait, PATIENCE)
            await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
            assert await asyncio.to_thread(writing.end.wait, PATIENCE)
            assert writing.ended == ["stopped"]
            with pytest.raises(CorpusNotFound):
                _ = [message async for message in client.ask_stream(QUESTION, corpus="nowhere")]

    asyncio.run(run())


def test_what_ask_refuses_is_refused(library: Service, client: QueryClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        next(client.ask_stream(" ", config=pb.AskConfig(top_k_first=0)))
    assert set(caught.value.violations) == {"query", "config.top_k_first"}
    with pytest.raises(CorpusNotFound):
        next(client.ask_stream(QUESTION, corpus="nowhere"))
    with pytest.raises(grpc.RpcError) as garbled, grpc.insecure_channel(library.address) as channel:
        list(channel.unary_stream("/rag_papers.v1.QueryService/AskStream")(b"\xff"))
    assert garbled.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    with pytest.raises(grpc.RpcError) as late:
        list(library.stub.AskStream(pb.AskRequest(query=QUESTION), timeout=1e-4))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]


def test_equal_streams_at_once_are_made_once(library: Service, client: QueryClient, writing: WritingGenerator) -> None:
    config = pb.AskConfig(generator="writing", max_repairs=0)
    leading, following = (client.ask_stream(QUESTION, config=config) for _ in range(2))
    assert kinds([next(leading), next(leading)]) == ["started", "retrieved"]
    assert writing.began.wait(PATIENCE)
    asked = library.stub.Ask.future(pb.AskRequest(query=QUESTION, config=config))
    writing.go_on.set()
    answers = [said(list(leading)), said(list(following)), asked.result(PATIENCE).answer]
    assert len(set(answers)) == 1
    assert writing.ended == ["whole"]


def test_who_follows_a_client_that_leaves_gets_the_answer(client: QueryClient, writing: WritingGenerator) -> None:
    config = pb.AskConfig(generator="writing", max_repairs=0)
    leading = client.ask_stream(QUESTION, config=config)
    next(leading)
    assert writing.began.wait(PATIENCE)
    followed: list[pb.AskStreamResponse] = []
    following = threading.Thread(target=lambda: followed.extend(client.ask_stream(QUESTION, config=config)))
    following.start()
    leading.close()  # type: ignore[attr-defined]  # it is a generator
    following.join(PATIENCE)
    assert said(followed) == followed[-1].done.answer
    eventually(lambda: sorted(writing.ended) == ["stopped", "whole"])
