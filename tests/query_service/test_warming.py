"""Questions asked ahead."""

from collections.abc import Callable

import grpc
import pytest

from query_service import warming
from rag_client import QueryClient
from rag_papers.persist.sessions import SessionStore
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1.query_pb2 import WarmCacheRequest
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service, eventually, refused, violations
from tests.query_service.test_single_flight import Gated, gated  # noqa: F401 - a fixture

QUESTIONS = ("What is dropout?", "What is transfer learning?", "What is batch normalization?")


def counts(response: pb.WarmCacheResponse) -> tuple[int, ...]:
    return response.total, response.stored, response.revalidated, response.generated, response.failed


def test_each_question_is_asked_once_and_its_answer_stored(library: Service) -> None:
    library.ask(QUESTIONS[0])
    with QueryClient(library.address) as client:
        told = list(client.warm_cache([*QUESTIONS, " What is dropout? "]))
    assert [counts(message) for message in told] == [
        (3, 0, 0, 0, 0), (3, 1, 0, 0, 0), (3, 1, 0, 1, 0), (3, 1, 0, 2, 0)
    ]  # fmt: skip
    assert [message.query for message in told] == ["", *QUESTIONS]
    assert all(library.ask(question).cache.answer_hit for question in QUESTIONS)


def test_after_a_new_version_what_is_the_same_is_revalidated(library: Service) -> None:
    request = WarmCacheRequest(queries=QUESTIONS, corpus="library")
    list(library.stub.WarmCache(request))
    library.publish("library", LIBRARY | {"volcano.txt": "A volcano is a vent of a planet."})
    *_, last = library.stub.WarmCache(request)
    assert last.revalidated >= 1
    assert last.revalidated + last.generated == 3
    assert all(library.ask(question, corpus="library").cache.answer_hit for question in QUESTIONS)


def test_the_questions_asked_most_often_in_sessions(library: Service) -> None:
    for question, times in zip(QUESTIONS, (1, 3, 2), strict=True):
        for _ in range(times):
            library.ask(question, session_id="-")
    library.purge("answers")
    told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=2)))
    assert [message.query for message in told] == ["", QUESTIONS[1], QUESTIONS[2]]
    library.purge("answers")
    told = list(library.stub.WarmCache(WarmCacheRequest(queries=QUESTIONS[:1], most_frequent=9, days=1e-9)))
    assert [message.query for message in told] == ["", QUESTIONS[0]]


def test_then_those_asked_again_without_a_session(library: Service) -> None:
    library.ask(QUESTIONS[2], session_id="-")
    library.ask(QUESTIONS[2])
    other = "What is a vector?"
    for question in (QUESTIONS[0], other, QUESTIONS[1], QUESTIONS[0]):
        library.ask(question)  # that one but for the first, ...
    for question in (QUESTIONS[0], QUESTIONS[1]):
        library.ask(question)
    library.ask(other, filter=pb.Filter(document_ids=["dropout.txt"]))  # ... and these, ...
    library.ask(other, filter=pb.Filter(document_ids=["dropout.txt"]))  # ... which are not all in their text
    *_, last = told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=9)))
    assert [message.query for message in told] == ["", QUESTIONS[2], QUESTIONS[1], QUESTIONS[0]]
    assert counts(last) == (3, 3, 0, 0, 0)
    told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=2, corpus="library")))
    assert [message.query for message in told] == ["", QUESTIONS[2], QUESTIONS[0]]
    told = list(library.stub.WarmCache(WarmCacheRequest(queries=[other], most_frequent=9, days=1e-9)))
    assert [message.query for message in told] == ["", other]
    library.publish("other", {"volcano.txt": "A volcano is a vent of a planet."})
    told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=9, corpus="other")))
    assert [message.query for message in told] == [""]
    nowhere = WarmCacheRequest(most_frequent=9, corpus="nowhere")
    assert refused(lambda: list(library.stub.WarmCache(nowhere)))[1].reason == "CORPUS_NOT_FOUND"
    marks = "a" + "\u0301\u0316" * 500_000  # composing them would take minutes
    endless = WarmCacheRequest(most_frequent=9, corpus=marks)
    assert refused(lambda: list(library.stub.WarmCache(endless, timeout=20)))[1].reason == "CORPUS_NOT_FOUND"


def test_what_an_earlier_version_was_asked_without_a_session(library: Service) -> None:
    for _ in range(2):
        library.ask(QUESTIONS[0], corpus="library")
    library.publish("library", LIBRARY | {"volcano.txt": "A volcano is a vent of a planet."})
    # Twice: that an answer was made ahead is no sign that anybody wants it.
    for done in ((1, 0, 1, 0, 0), (1, 1, 0, 0, 0)):
        *_, last = library.stub.WarmCache(WarmCacheRequest(most_frequent=9, corpus="library"))
        assert (last.query, counts(last)) == (QUESTIONS[0], done)


def test_of_a_corpus_count_the_questions_asked_of_it(library: Service) -> None:
    library.publish("other", {"volcano.txt": "A volcano is a vent of a planet."})
    library.ask(QUESTIONS[0], session_id="-", corpus="library")
    library.ask(QUESTIONS[1], session_id="-", corpus="other")
    told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=9, corpus="library")))
    assert [message.query for message in told] == ["", QUESTIONS[0]]
    told = list(library.stub.WarmCache(WarmCacheRequest(most_frequent=9)))
    assert len(told) == 3


def test_a_new_version_is_warmed_by_itself_where_that_is_wanted(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "_LOOK_SECONDS", 0.01)
    service = serve(warm_questions=2)
    service.publish("library", LIBRARY)
    for question, times in zip(QUESTIONS, (1, 3, 2), strict=True):
        for _ in range(times):
            service.ask(question, session_id="-")
    assert service.counts()["answers"] == 3
    service.publish("library", LIBRARY | {"volcano.txt": "A volcano is a vent of a planet."})
    eventually(lambda: service.counts()["answers"] == 5)
    assert [service.ask(question, corpus="library").cache.answer_hit for question in QUESTIONS] == [False, True, True]


def test_a_version_that_cannot_be_warmed_is_reported_and_the_next_one_is(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warming, "_LOOK_SECONDS", 0.01)
    service = serve(warm_questions=2)
    service.publish("library", LIBRARY)
    service.ask(QUESTIONS[0], session_id="-")
    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "page", lambda *_: 1 / 0)
        service.publish("library", LIBRARY | {"volcano.txt": "A volcano is a vent of a planet."})
        eventually(lambda: "is not warmed" in caplog.text)
    service.publish("library", LIBRARY | {"lava.txt": "Lava is molten rock."})
    eventually(lambda: service.counts()["answers"] >= 2)


def test_a_question_that_fails_does_not_end_the_others(service: Service) -> None:
    told = list(service.stub.WarmCache(WarmCacheRequest(queries=QUESTIONS)))
    assert counts(told[-1]) == (3, 0, 0, 0, 3)
    assert all("ingest" in message.failure for message in told[1:])


def test_it_stops_with_its_stream(library: Service, gated: Gated) -> None:  # noqa: F811
    config = pb.AskConfig(generator="gated")
    stream = library.stub.WarmCache(WarmCacheRequest(queries=QUESTIONS, config=config), timeout=PATIENCE)
    assert next(stream).total == 3
    assert gated.begun.wait(PATIENCE)
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert gated.given_up.wait(PATIENCE)
    gated.may_end.set()
    assert library.ask("What is dropout?", config=config).accepted
    assert gated.times == 2  # the one that was being answered, and this one
    assert library.counts()["answers"] == 1


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (WarmCacheRequest(), ["queries"]),
        (WarmCacheRequest(queries=["What is dropout?", " ", "x" * 5000]), ["queries[1]", "queries[2]"]),
        (WarmCacheRequest(queries=["a question"] * 10_001), ["queries"]),
        (WarmCacheRequest(most_frequent=-1), ["most_frequent"]),
        (WarmCacheRequest(most_frequent=1, days=0), ["days"]),
        (WarmCacheRequest(most_frequent=1, days=float("nan")), ["days"]),
        (WarmCacheRequest(queries=["q"], config=pb.AskConfig(top_k_first=0)), ["config.top_k_first"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests_are_refused(service: Service, request_: WarmCacheRequest, fields: list[str]) -> None:
    assert sorted(violations(lambda: list(service.stub.WarmCache(request_)))) == fields


def test_an_unknown_corpus_is_the_failure_of_each_question(library: Service) -> None:
    *_, last = library.stub.WarmCache(WarmCacheRequest(queries=QUESTIONS, corpus="nowhere"))
    assert (last.failed, "nowhere" in last.failure) == (3, True)
    assert refused(lambda: library.ask(QUESTIONS[0], corpus="nowhere"))[1].reason == "CORPUS_NOT_FOUND"
