"""Questions as turns of sessions."""

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment
from query_service.generators.extractive import ExtractiveGenerator
from rag_client import QueryClient
from rag_papers.errors import SessionNotFound
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service, check_citations, refused, violations
from tests.query_service.test_ask_cache import same

FIRST = "What is batch normalization?"
AGAIN = "And why does it work poorly?"
RESOLVED = "why does batch normalization work poorly?"
UNKNOWN = "0" * 32
NO_IDS = [UNKNOWN, "x", "--", "../../../etc/passwd", "/etc/passwd", "A" * 32, "\0", "é" * 16, "%2e%2e", "' OR 1=1 --"]


@pytest.fixture
def client(library: Service) -> Iterator[QueryClient]:
    with QueryClient(library.address) as client:
        yield client


def without_session(response: pb.AskResponse) -> pb.AskResponse:
    """A response but for what belongs to the turn, or to the call."""
    rest = pb.AskResponse()
    rest.CopyFrom(response)
    for field in ("session_id", "turn", "resolved_query", "cache", "timings_ms", "trace_id"):
        rest.ClearField(field)
    return rest


def test_a_session_begins_and_goes_on(library: Service, client: QueryClient) -> None:
    first = client.ask(FIRST, session_id="-")
    assert len(first.session_id) == 32
    assert (first.turn, first.resolved_query) == (1, "")
    second = client.ask(AGAIN, session_id=first.session_id)
    assert (second.session_id, second.turn) == (first.session_id, 2)
    assert second.resolved_query == RESOLVED
    assert second.intent == "explanation"
    assert second.answer == "Batch normalization works poorly with very small minibatches."
    check_citations(second, LIBRARY)
    # The chain goes on from what was understood, not from what was said.
    third = client.ask("Is it a technique?", session_id=first.session_id)
    assert third.resolved_query == "Is batch normalization a technique?"
    assert client.ask(FIRST, session_id="-").session_id != first.session_id


def test_a_completed_question_is_answered_as_if_it_had_been_asked(library: Service, client: QueryClient) -> None:
    session_id = client.ask(FIRST, session_id="-").session_id
    completed = client.ask(AGAIN, session_id=session_id)
    assert without_session(completed) == without_session(client.ask(RESOLVED))
    given = client.ask("and what about it?", session_id=session_id, intent="summarization")
    assert given.intent == "summarization"


def test_a_question_that_stands_by_itself_shares_the_cache(library: Service, client: QueryClient) -> None:
    plain = client.ask("What is dropout?")
    assert (plain.session_id, plain.turn) == ("", 0)
    session_id = client.ask(FIRST, session_id="-").session_id
    response = client.ask("What is dropout?", session_id=session_id)
    assert response.cache.answer_hit
    assert response.resolved_query == ""
    assert same_but_turn(plain, response)


def same_but_turn(first: pb.AskResponse, second: pb.AskResponse) -> bool:
    return without_session(first) == without_session(second)


def test_the_history_is_part_of_the_key(library: Service, client: QueryClient) -> None:
    client.ask(RESOLVED)
    session_id = client.ask(FIRST, session_id="-").session_id
    assert not client.ask(AGAIN, session_id=session_id).cache.answer_hit
    other = client.ask(FIRST, session_id="-").session_id
    assert client.ask(AGAIN, session_id=other).cache.answer_hit
    different = client.ask("Why does batch normalization work?", session_id="-").session_id
    assert not client.ask(AGAIN, session_id=different).cache.answer_hit


def test_a_stream_is_a_turn_too(library: Service, client: QueryClient) -> None:
    session_id = list(client.ask_stream(FIRST, session_id="-"))[-1].done.session_id
    messages = list(client.ask_stream(AGAIN, session_id=session_id))
    done = messages[-1].done
    assert (done.session_id, done.turn, done.resolved_query) == (session_id, 2, RESOLVED)
    assert "".join(message.text_delta for message in messages) == done.answer
    assert [turn.response.answer for turn in client.export_session(session_id)][-1] == done.answer
    again = client.ask(AGAIN, session_id=client.ask(FIRST, session_id="-").session_id)
    assert again.cache.answer_hit
    assert same_but_turn(done, again)


def test_what_was_said_can_be_read_again(library: Service, client: QueryClient) -> None:
    asked = [client.ask(FIRST, session_id="-")]
    session_id = asked[0].session_id
    asked += [client.ask(query, session_id=session_id) for query in (AGAIN, "Which volcano erupted?", FIRST)]
    turns = list(client.export_session(session_id))
    assert [turn.number for turn in turns] == [1, 2, 3, 4]
    assert [turn.query for turn in turns] == [FIRST, AGAIN, "Which volcano erupted?", FIRST]
    assert [turn.response for turn in turns] == asked
    times = [turn.create_time.ToNanoseconds() for turn in turns]
    assert times == sorted(times)
    whole = client.get_session(session_id)
    assert list(whole.turns) == turns
    assert whole.next_page_token == ""
    session = whole.session
    assert (session.session_id, session.turn_count, session.title) == (session_id, 4, FIRST)
    assert (session.create_time, session.update_time) == (turns[0].create_time, turns[-1].create_time)
    page = client.get_session(session_id, page_size=3)
    rest = client.get_session(session_id, page_size=3, page_token=page.next_page_token)
    assert [*page.turns, *rest.turns] == turns
    assert rest.next_page_token == ""


def test_sessions_are_listed_page_by_page_and_deleted(library: Service, client: QueryClient) -> None:
    assert list(client.list_sessions()) == []
    ids = [client.ask(query, session_id="-").session_id for query in (FIRST, "What is dropout?", "dropout")]
    client.ask(AGAIN, session_id=ids[0])
    order = [ids[0], ids[2], ids[1]]
    assert [session.session_id for session in client.list_sessions()] == order
    assert [session.session_id for session in client.list_sessions(page_size=1)] == order
    assert next(client.list_sessions()).title == FIRST
    assert client.delete_session(ids[0]) == 2
    assert [session.session_id for session in client.list_sessions()] == order[1:]
    for call in (client.get_session, client.delete_session, lambda it: next(client.export_session(it))):
        with pytest.raises(SessionNotFound):
            call(ids[0])
    assert library.purge("sessions") == {"sessions": 2}
    assert list(client.list_sessions()) == []


@pytest.mark.parametrize("session_id", NO_IDS)
def test_ids_are_made_by_the_service_alone(library: Service, client: QueryClient, session_id: str) -> None:
    for call in (
        lambda: library.ask(FIRST, session_id=session_id),
        lambda: list(library.stub.AskStream(pb.AskRequest(query=FIRST, session_id=session_id))),
        lambda: library.stub.GetSession(pb.GetSessionRequest(session_id=session_id)),
        lambda: library.stub.DeleteSession(pb.DeleteSessionRequest(session_id=session_id)),
        lambda: list(library.stub.ExportSession(pb.ExportSessionRequest(session_id=session_id))),
    ):
        code, error = refused(call)
        assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert list(client.list_sessions()) == []


@pytest.mark.parametrize("session_id", ["", "-", "x" * 101])
def test_calls_about_a_session_name_one(service: Service, session_id: str) -> None:
    for call in (
        lambda: service.stub.GetSession(pb.GetSessionRequest(session_id=session_id)),
        lambda: service.stub.DeleteSession(pb.DeleteSessionRequest(session_id=session_id)),
        lambda: list(service.stub.ExportSession(pb.ExportSessionRequest(session_id=session_id))),
    ):
        assert set(violations(call)) == {"session_id"}
    if len(session_id) > 1:
        assert set(violations(lambda: service.ask("q", session_id=session_id))) == {"session_id"}


def test_pages_that_there_are_not(library: Service, client: QueryClient) -> None:
    session_id = client.ask(FIRST, session_id="-").session_id
    for size in (-1, 1001):
        assert set(violations(lambda size=size: library.stub.ListSessions(pb.ListSessionsRequest(page_size=size)))) == {
            "page_size"
        }
        request = pb.GetSessionRequest(session_id=session_id, page_size=size)
        assert set(violations(lambda request=request: library.stub.GetSession(request))) == {"page_size"}
    for token in ("x", UNKNOWN, "-1", "９"):
        request_ = pb.ListSessionsRequest(page_token=token)
        assert set(violations(lambda request=request_: library.stub.ListSessions(request))) == {"page_token"}
    for token in ("x", "-1", "９", "9" * 20):
        request = pb.GetSessionRequest(session_id=session_id, page_token=token)
        assert set(violations(lambda request=request: library.stub.GetSession(request))) == {"page_token"}
    assert not client.get_session(session_id, page_token="7").turns


def test_a_call_that_fails_is_no_turn(library: Service, client: QueryClient) -> None:
    session_id = client.ask(FIRST, session_id="-").session_id
    for fields in ({"corpus": "nowhere"}, {"config": pb.AskConfig(reranker="cross-encoder:no-such-model")}):
        refused(lambda fields=fields: library.ask("What is dropout?", session_id=session_id, **fields))
        refused(lambda fields=fields: library.ask("What is dropout?", session_id="-", **fields))
    assert [session.turn_count for session in client.list_sessions()] == [1]


def test_a_session_that_is_deleted_meanwhile_does_not_come_back(
    library: Service, client: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class Waiting(ExtractiveGenerator):
        identity = "waiting-1"

        def generate(self, assignment: Assignment):  # type: ignore[no-untyped-def]
            reached.set()
            assert go_on.wait(PATIENCE)
            return super().generate(assignment)

    monkeypatch.setitem(GENERATORS, "waiting", lambda settings: Waiting())
    session_id = client.ask(FIRST, session_id="-").session_id
    asking = library.stub.Ask.future(
        pb.AskRequest(query=AGAIN, session_id=session_id, config=pb.AskConfig(generator="waiting"))
    )
    assert reached.wait(PATIENCE)
    assert client.delete_session(session_id) == 1
    go_on.set()
    _, error = refused(asking.result)
    assert error.reason == "SESSION_NOT_FOUND"
    assert list(client.list_sessions()) == []


def test_turns_at_the_same_time_are_all_stored(serve: Callable[..., Service]) -> None:
    services = [serve(), serve()]  # two servers over one database
    services[0].publish("library", LIBRARY)
    session_id = services[0].ask(FIRST, session_id="-").session_id
    questions = [f"What is dropout of kind {number}?" for number in range(24)]
    calls = [
        services[number % 2].stub.Ask.future(pb.AskRequest(query=question, session_id=session_id))
        for number, question in enumerate(questions)
    ]
    responses = [call.result(PATIENCE) for call in calls]
    with QueryClient(services[1].address) as client:
        turns = list(client.export_session(session_id))
    assert [turn.number for turn in turns] == list(range(1, 26))
    assert sorted(turn.query for turn in turns[1:]) == sorted(questions)
    by_number = {turn.number: turn for turn in turns}
    for question, response in zip(questions, responses, strict=True):
        assert by_number[response.turn].query == question
        assert by_number[response.turn].response == response


def test_sessions_outlive_the_service_and_the_caches(serve: Callable[..., Service]) -> None:
    first = serve()
    first.publish("library", LIBRARY)
    session_id = first.ask(FIRST, session_id="-").session_id
    first.purge("answers", "retrieval", "embeddings")
    second = serve().ask(AGAIN, session_id=session_id)
    assert (second.turn, second.resolved_query) == (2, RESOLVED)


def test_without_cache_a_turn_is_stored_all_the_same(library: Service, client: QueryClient) -> None:
    session_id = client.ask(FIRST, session_id="-", use_cache=False).session_id
    assert client.ask(AGAIN, session_id=session_id, use_cache=False).turn == 2
    counts = library.counts()
    assert (counts["answers"], counts["sessions"]) == (0, 2)
    assert same(client.ask(FIRST), client.ask(FIRST))
