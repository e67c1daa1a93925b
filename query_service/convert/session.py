"""The messages of sessions."""

from query_service.config import MAX_SESSION_ID_CHARS
from query_service.conversation.sessions import NEW, OpenTurn
from rag_papers.errors import InvalidRequest, SessionNotFound
from rag_papers.persist.sessions import Session, SessionStore, StoredTurn
from rag_papers.rpc.times import timestamp
from rag_papers.v1 import query_pb2

MAX_PAGE = 1000
"""Most sessions or turns of a page."""
PAGE_BYTES = 4 << 20
"""Size from which on a page of turns takes no more."""

_DEFAULT_PAGE = 100


def session_id(text: str) -> str:
    """The id of a session that a request names. Raises InvalidRequest; whether there is one is another question."""
    if len(text) > MAX_SESSION_ID_CHARS:
        raise InvalidRequest(violations={"session_id": f"has {len(text):,} characters; an id has 32"})
    if text in ("", NEW):
        raise InvalidRequest(violations={"session_id": "must be that of a session"})
    return text


def page_size(size: int) -> int:
    """The entries of a page. Raises InvalidRequest."""
    if not 0 <= size <= MAX_PAGE:
        raise InvalidRequest(violations={"page_size": f"is {size}; must be from 0 to {MAX_PAGE:,}"})
    return size or _DEFAULT_PAGE


def turn_number(page_token: str) -> int:
    """The turn that a page of turns begins behind. Raises InvalidRequest."""
    if page_token and not (page_token.isascii() and page_token.isdecimal() and len(page_token) < 10):
        raise InvalidRequest(violations={"page_token": "is not from a page of this session"})
    return int(page_token or "0")


def session_message(session: Session) -> query_pb2.Session:
    """A session as a list shows it."""
    return query_pb2.Session(
        session_id=session.session_id,
        create_time=timestamp(session.created),
        update_time=timestamp(session.updated),
        turn_count=session.turn_count,
        title=session.title,
    )


def list_response(sessions: SessionStore, size: int, page_token: str) -> query_pb2.ListSessionsResponse:
    """The response to ListSessions; a token is the last session of the page before. Raises InvalidRequest."""
    try:
        found, more = sessions.page(size, page_token)
    except SessionNotFound as error:
        raise InvalidRequest(
            violations={"page_token": "is not from a page of this list, or its session is gone"}
        ) from error
    return query_pb2.ListSessionsResponse(
        sessions=map(session_message, found), next_page_token=found[-1].session_id if more else ""
    )


def get_response(sessions: SessionStore, session_id: str, after: int, size: int) -> query_pb2.GetSessionResponse:
    """The response to GetSession: at most `size` turns behind the `after`th, fewer of large ones."""
    session = sessions.get(session_id)
    turns: list[query_pb2.Turn] = []
    room = PAGE_BYTES
    for turn in sessions.turns(session_id, after):
        turns.append(turn_message(turn))
        room -= len(turn.response)
        if len(turns) == size or room <= 0:
            break
    more = bool(turns) and turns[-1].number < session.turn_count
    return query_pb2.GetSessionResponse(
        session=session_message(session), turns=turns, next_page_token=str(turns[-1].number) if more else ""
    )


def is_of_corpus(turn: StoredTurn, corpus: str) -> bool:
    """Whether a turn was answered from the corpus, by its name in NFC; from any, if `corpus` is empty."""
    return not corpus or query_pb2.AskResponse.FromString(turn.response).corpus == corpus


def turn_bytes(turn: OpenTurn) -> bytes:
    """What of an AskResponse belongs to the turn, to be joined to the rest; but for its number."""
    return query_pb2.AskResponse(session_id=turn.session_id, resolved_query=turn.resolved_query).SerializeToString()


def number_bytes(number: int) -> bytes:
    """The same with the number alone."""
    return query_pb2.AskResponse(turn=number).SerializeToString()


def turn_message(turn: StoredTurn) -> query_pb2.Turn:
    """A turn with its answer."""
    response = query_pb2.AskResponse.FromString(turn.response)
    response.turn = turn.number
    return query_pb2.Turn(number=turn.number, create_time=timestamp(turn.created), query=turn.query, response=response)
