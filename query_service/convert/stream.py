"""The messages of AskStream."""

from collections.abc import Iterator

from query_service.convert import common
from query_service.events import Event, Said, Sourced, Started, Verified
from query_service.plan import steps
from query_service.question import Intent
from rag_papers.v1 import query_pb2
from rag_papers.v1.query_pb2 import AskRetrieved, AskStarted, AskStreamResponse, AskVerified


class AskMessages:
    """The messages of one stream: of what happens, and at the end of whatever the response has that was not told.

    So a stream whose answer was not made for it, but found in the cache, runs as any other.
    """

    def __init__(self) -> None:
        self._told: set[type[Event]] = set()
        self._said = ""

    def of(self, event: Event) -> AskStreamResponse:
        """The message of what happened."""
        self._told.add(type(event))
        match event:
            case Started():
                started = AskStarted(
                    intent=event.question.intent,
                    steps=event.steps,
                    config=common.config_message(event.config),
                    corpus_id=event.corpus_id,
                )
                return AskStreamResponse(started=started)
            case Sourced():
                return AskStreamResponse(retrieved=AskRetrieved(sources=common.sources(event.passages)))
            case Said():
                self._said += event.text
                return AskStreamResponse(text_delta=event.text)
            case Verified():
                verified = AskVerified(score=event.score, issues=common.issues(event.issues), accepted=event.accepted)
                return AskStreamResponse(verified=verified)

    def rest(self, response: query_pb2.AskResponse) -> Iterator[AskStreamResponse]:
        """The messages that are still to come, once the response is there."""
        if Started not in self._told:
            plan = steps(Intent(response.intent), response.config.max_repairs)
            yield AskStreamResponse(
                started=AskStarted(
                    intent=response.intent, steps=plan, config=response.config, corpus_id=response.corpus_id
                )
            )
        if Sourced not in self._told:
            yield AskStreamResponse(retrieved=AskRetrieved(sources=response.sources))
        if text := response.answer[len(self._said) :]:
            yield AskStreamResponse(text_delta=text)
        if Verified not in self._told:
            yield AskStreamResponse(
                verified=AskVerified(score=response.score, issues=response.issues, accepted=response.accepted)
            )
        yield AskStreamResponse(done=response)
