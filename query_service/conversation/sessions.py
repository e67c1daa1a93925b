"""Asking in sessions: a question is completed from the turns before it, and becomes a turn with its answer."""

import dataclasses

from query_service.answering import Ask
from query_service.conversation.follow_up import resolve
from query_service.question import detect
from rag_papers.persist.sessions import SessionStore, new_session_id

NEW = "-"
"""Stands for a session that is yet to begin."""

_QUESTIONS = 10  # turns back that a question may be completed from


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenTurn:
    """A turn whose question is not answered yet."""

    session_id: str
    is_new: bool
    """The session begins with this turn."""
    query: str
    """As it was asked."""
    ask: Ask
    """To be answered: the question completed."""

    @property
    def resolved_query(self) -> str:
        """The completed question; empty if nothing was missing."""
        return "" if self.ask.query == self.query else self.ask.query


class Conversations:
    """Turns of sessions. Safe to use from several threads; each method reads or writes the disk."""

    def __init__(self, store: SessionStore, max_query_chars: int) -> None:
        self._store = store
        self._max_query_chars = max_query_chars

    def begin(self, asked: Ask) -> OpenTurn:
        """The turn that `asked` is to be. Raises SessionNotFound and SessionsUnavailable."""
        ask = dataclasses.replace(asked, session_id="")
        if asked.session_id == NEW:
            return OpenTurn(session_id=new_session_id(), is_new=True, query=ask.query, ask=ask)
        earlier = [turn.resolved_query for turn in self._store.last(asked.session_id, _QUESTIONS)]
        resolved = resolve(ask.query, earlier, self._max_query_chars)
        if resolved.used:
            intent = detect(resolved.text) if ask.intent_detected else ask.intent
            ask = dataclasses.replace(ask, query=resolved.text, intent=intent, history=resolved.used)
        return OpenTurn(session_id=asked.session_id, is_new=False, query=asked.query, ask=ask)

    def end(self, turn: OpenTurn, response: bytes) -> int:
        """Stores a turn with its serialised response; returns its number. Raises as `begin` does.

        Turns that are open at the same time are stored in the order in which they end.
        """
        return self._store.append(
            turn.session_id,
            query=turn.query,
            resolved_query=turn.ask.query,
            response=response,
            is_new=turn.is_new,
        )
