"""Equal questions at once are answered once, whoever asks them, and each caller for itself."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.extractive import ExtractiveGenerator
from rag_papers.errors import DeadlineExceeded
from rag_papers.retrieval.encoders.hashing import HashingEncoder
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service
from tests.query_service.test_ask_cache import same

QUESTION = "What is transfer learning?"
GATED = pb.AskConfig(generator="gated")


class Gated(ExtractiveGenerator):
    """Counts, and waits until it may write or need not."""

    identity = "gated-1"

    def __init__(self) -> None:
        self.times = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.given_up = threading.Event()
        self._lock = threading.Lock()

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        with self._lock:
            self.times += 1
        self.begun.set()
        end = time.monotonic() + PATIENCE
        while not self.may_end.wait(0.01):
            try:
                assignment.stop.check()
            except DeadlineExceeded:
                self.given_up.set()
                raise
            assert time.monotonic() < end
        return super().generate(assignment)


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    gated = Gated()
    monkeypatch.setitem(GENERATORS, "gated", lambda settings: gated)
    yield gated
    gated.may_end.set()


@pytest.fixture
def pair(serve: Callable[..., Service]) -> tuple[Service, Service]:
    """Two services over one data directory; to each other they are as two processes."""
    first, second = serve(), serve()
    first.publish("library", LIBRARY)
    return first, second


def start(service: Service, query: str = QUESTION, timeout: float = PATIENCE, **fields: Any) -> Any:
    """An Ask in flight."""
    request = pb.AskRequest(query=query, config=GATED, **fields)
    return service.stub.Ask.future(request, timeout=timeout)


def streamed(service: Service) -> tuple[str, pb.AskResponse]:
    """An AskStream to its end: its text and its response."""
    messages = list(service.stub.AskStream(pb.AskRequest(query=QUESTION, config=GATED), timeout=PATIENCE))
    return "".join(message.text_delta for message in messages), messages[-1].done


def test_fifty_equal_questions_to_two_services_are_answered_once(pair: tuple[Service, Service], gated: Gated) -> None:
    calls = [start(pair[number % 2]) for number in range(40)]
    with ThreadPoolExecutor(10) as threads:
        streams = [threads.submit(streamed, pair[number % 2]) for number in range(10)]
        assert gated.begun.wait(PATIENCE)
        gated.may_end.set()
        told = [stream.result(PATIENCE) for stream in streams]
    responses = [call.result() for call in calls] + [response for _, response in told]
    assert gated.times == 1
    assert [response.cache.answer_hit for response in responses].count(False) == 1
    assert all(same(response, responses[0]) for response in responses)
    assert {text for text, _ in told} == {responses[0].answer}
    assert len({response.trace_id for response in responses}) == len(responses)


def test_who_waits_keeps_no_thread(serve: Callable[..., Service], gated: Gated) -> None:
    service = serve(query_threads=2)
    service.publish("library", LIBRARY)
    calls = [start(service) for _ in range(10)]
    assert gated.begun.wait(PATIENCE)
    assert service.ask("What is batch normalization?").accepted  # though ten are under way
    gated.may_end.set()
    assert len({call.result().answer for call in calls}) == 1
    assert gated.times == 1


def test_a_caller_that_leaves_takes_nobody_with_it(pair: tuple[Service, Service], gated: Gated) -> None:
    leader = start(pair[0])
    assert gated.begun.wait(PATIENCE)
    followers = [start(service) for service in pair for _ in range(3)]
    gated.begun.clear()
    leader.cancel()
    assert gated.begun.wait(PATIENCE)  # one of them works now
    gated.may_end.set()
    assert all(follower.result().accepted for follower in followers)
    assert gated.times == 2


def test_a_follower_has_its_own_deadline(pair: tuple[Service, Service], gated: Gated) -> None:
    leader = start(pair[0])
    assert gated.begun.wait(PATIENCE)
    for service in pair:
        with pytest.raises(grpc.RpcError) as caught:
            start(service, timeout=0.2).result()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gated.may_end.set()
    assert leader.result().accepted
    assert gated.times == 1


def test_different_questions_do_not_wait_for_each_other(pair: tuple[Service, Service], gated: Gated) -> None:
    first = start(pair[0])
    assert gated.begun.wait(PATIENCE)
    gated.begun.clear()
    second = start(pair[1], "What is batch normalization?")
    assert gated.begun.wait(PATIENCE)
    gated.may_end.set()
    assert "Transfer learning" in first.result().answer
    assert "Batch normalization" in second.result().answer


def test_a_refresh_is_not_content_with_an_answer_that_was_begun_before(library: Service, gated: Gated) -> None:
    plain = start(library)
    assert gated.begun.wait(PATIENCE)
    gated.may_end.set()
    plain.result()
    gated.begun.clear()
    gated.may_end.clear()
    refreshes = [start(library, refresh=True) for _ in range(5)]
    assert gated.begun.wait(PATIENCE)
    gated.may_end.set()
    assert all(call.result().accepted for call in refreshes)
    assert 2 <= gated.times <= 1 + len(refreshes)
    assert [call.result().cache.answer_hit for call in refreshes].count(False) == gated.times - 1


def test_who_wants_no_cache_shares_nothing(library: Service, gated: Gated) -> None:
    calls = [start(library, use_cache=False) for _ in range(3)]
    gated.may_end.set()
    assert not any(call.result().cache.answer_hit for call in calls)
    assert gated.times == 3
    assert not any(library.counts().values())


class Encoding:
    """Holds the encoder until it may go on, and counts what it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        encode = HashingEncoder.encode

        def watched(encoder: HashingEncoder, texts: Sequence[str]) -> Any:
            self.texts += texts
            self.begun.set()
            assert self.may_end.wait(PATIENCE)
            return encode(encoder, texts)

        patch.setattr(HashingEncoder, "encode", watched)


def test_equal_searches_share_a_ranking_and_different_ones_the_query_vector(
    library: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.search("dropout")  # the index is open, the encoder too
    encoding = Encoding()
    encoding.watch(monkeypatch)
    requests = [pb.SearchRequest(query="What is attention?", top_k=top_k) for top_k in (3, 3, 4)]
    calls = [library.stub.Search.future(request, timeout=PATIENCE) for request in requests]
    assert encoding.begun.wait(PATIENCE)
    encoding.may_end.set()
    responses = [call.result() for call in calls]
    assert encoding.texts == ["What is attention?"]
    assert sorted(response.cache.retrieval_hit for response in responses) == [False, False, True]
    assert sum(response.cache.embed_misses for response in responses) == 1
    assert [len(response.sources) for response in responses] == [3, 3, 4]


def test_searches_of_two_services_share_too(pair: tuple[Service, Service], monkeypatch: pytest.MonkeyPatch) -> None:
    for service in pair:
        service.search("dropout")
    encoding = Encoding()
    encoding.watch(monkeypatch)
    request = pb.SearchRequest(query="What is attention?")
    calls = [service.stub.Search.future(request, timeout=PATIENCE) for service in pair for _ in range(2)]
    assert encoding.begun.wait(PATIENCE)
    encoding.may_end.set()
    responses = [call.result() for call in calls]
    assert encoding.texts == ["What is attention?"]
    assert [response.cache.retrieval_hit for response in responses].count(False) == 1
