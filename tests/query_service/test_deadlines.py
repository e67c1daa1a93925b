"""A deadline is a budget: what an answer can do without gives way, and the response says so."""

import time
from collections.abc import Iterator, Sequence

import grpc
import pytest

from query_service import running, stop
from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.extractive import ExtractiveGenerator
from query_service.rerankers import BUILT_IN
from query_service.rerankers.base import Retrieved
from query_service.stop import OutOfBudget, Stop
from rag_client import QueryClient
from rag_papers.errors import DeadlineExceeded
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import Service, refused
from tests.query_service.test_ask_cache import same

QUESTION = "What is transfer learning?"
HARD = "How does dropout reduce overfitting of huge models?"
TIMEOUT = 1000.0
ATTEMPT = ["retrieve", "rerank", "prune", "contextualize", "generate", "verify"]


class Clock:
    """A clock that goes on as it is told to, where the service looks at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = staticmethod(time.perf_counter)


class Slow(ExtractiveGenerator):
    """A reranker and a generator that take as long as the clock says, and look at the time half through."""

    identity = "slow-1"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = [0.0]

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        self._spend(retrieved.stop)
        return [1 - passage.score for passage in retrieved.passages]

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        self._spend(assignment.stop)
        return super().generate(assignment)

    def _spend(self, stop: Stop) -> None:
        seconds = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        for _ in range(2):
            self._clock.now += seconds / 2
            stop.check()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (stop, running):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def slow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow(clock)
    monkeypatch.setitem(BUILT_IN, "slow", slow)  # type: ignore[arg-type]
    monkeypatch.setitem(GENERATORS, "slow", lambda settings: slow)
    return slow


@pytest.fixture
def client(library: Service) -> Iterator[QueryClient]:
    with QueryClient(library.address, timeout=TIMEOUT) as client:
        yield client


def test_reranking_gives_way(library: Service, client: QueryClient, slow: Slow) -> None:
    config = pb.AskConfig(reranker="slow")
    slow.seconds = [0.6 * TIMEOUT]
    response = client.ask(QUESTION, config=config)
    assert response.steps_skipped == ["rerank"]
    assert list(response.path) == [step for step in ATTEMPT if step != "rerank"]
    plain = client.ask(QUESTION, config=pb.AskConfig(reranker="none"))
    assert response.sources == plain.sources
    assert response.answer == plain.answer
    # It was not cached as if it were complete: with time enough the answer is the reranked one.
    slow.seconds = [0.4 * TIMEOUT]
    complete = client.ask(QUESTION, config=config)
    assert not complete.cache.answer_hit
    assert not complete.steps_skipped
    assert list(complete.path) == ATTEMPT
    assert complete.sources != response.sources
    assert client.ask(QUESTION, config=config).cache.answer_hit


def test_a_repair_does_not_begin_without_time_for_it(client: QueryClient, slow: Slow) -> None:
    config = pb.AskConfig(generator="slow", accept_threshold=1, abstain_threshold=0)
    slow.seconds = [0.5 * TIMEOUT, 0.0]
    response = client.ask(HARD, config=config)
    assert response.steps_skipped == ["repair"]
    assert list(response.path) == ATTEMPT
    assert response.answer
    slow.seconds = [0.4 * TIMEOUT, 0.0]
    complete = client.ask(HARD, config=config)
    assert not complete.cache.answer_hit
    assert not complete.steps_skipped
    assert list(complete.path) == [*ATTEMPT, "repair", *ATTEMPT]


def test_a_repair_that_takes_too_long_is_given_up(client: QueryClient, slow: Slow) -> None:
    config = pb.AskConfig(generator="slow", accept_threshold=1, max_repairs=3, abstain_threshold=0)
    slow.seconds = [0.1 * TIMEOUT, 0.1 * TIMEOUT, 0.75 * TIMEOUT]
    messages = list(client.ask_stream(HARD, config=config))
    response = messages[-1].done
    assert response.steps_skipped == ["repair"]
    repaired = ["repair", *ATTEMPT]
    assert list(response.path) == [*ATTEMPT, *repaired, *repaired[: repaired.index("generate")]]
    assert "".join(message.text_delta for message in messages) == response.answer
    slow.seconds = [0.0]
    complete = client.ask(HARD, config=config)
    assert not complete.cache.answer_hit
    assert list(complete.path).count("repair") == 3


def test_what_cannot_give_way_ends_the_call(client: QueryClient, slow: Slow) -> None:
    slow.seconds = [2.5 * TIMEOUT]
    code, error = refused(lambda: client._stub.Ask(_request("slow"), timeout=TIMEOUT))
    assert (code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


def test_without_a_deadline_everything_runs(library: Service, slow: Slow) -> None:
    slow.seconds = [1e9]
    config = pb.AskConfig(reranker="slow", generator="slow", accept_threshold=1)
    response = library.ask(HARD, config=config)
    assert not response.steps_skipped
    assert list(response.path) == [*ATTEMPT, "repair", *ATTEMPT]
    assert same(response, library.ask(HARD, config=config))


def _request(generator: str) -> pb.AskRequest:
    return pb.AskRequest(query=QUESTION, config=pb.AskConfig(generator=generator))


def test_budgets_nest_and_end(clock: Clock) -> None:
    stop = Stop(10)
    with stop.budget(6):
        with stop.budget(8):
            assert stop.seconds_left == 6
        with stop.budget(2):
            clock.now = 2.0
            with pytest.raises(OutOfBudget):
                stop.check()
        stop.check()
        assert stop.seconds_left == 4
        clock.now = 10.0
        with pytest.raises(DeadlineExceeded) as caught:
            stop.check()
        assert not isinstance(caught.value, OutOfBudget)
    assert stop.seconds_left == 0


def test_whoever_waits_is_woken_when_the_client_leaves() -> None:
    stop, woken = Stop(), list[str]()
    with stop.when_client_leaves(lambda: woken.append("over")):
        pass
    with stop.when_client_leaves(lambda: woken.append("now")):
        stop.client_left()
        stop.client_left()
    with stop.when_client_leaves(lambda: woken.append("late")):
        pass
    assert woken == ["now", "late"]
    with pytest.raises(DeadlineExceeded):
        stop.check()
