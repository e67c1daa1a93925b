"""Warming: questions asked ahead, so that whoever asks them after a new version was published finds the answer."""

import asyncio
import dataclasses
import heapq
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from query_service.answering import Ask
from query_service.asking import Asker
from query_service.stop import Stop
from rag_papers.errors import RagError
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.sessions import SessionStore, StoredTurn

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_SESSIONS_AT_ONCE = 100
_DAY_SECONDS = 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmed:
    """How far the warming has come."""

    total: int
    stored: int = 0
    """Questions whose answer was there already."""
    revalidated: int = 0
    """Questions whose answer's text is that of another version."""
    generated: int = 0
    """Questions that were answered."""
    failed: int = 0
    """Questions that could not be answered."""
    query: str = ""
    """The question asked last; empty before the first."""
    failure: RagError | None = None
    """Why that one failed."""


async def warm(asker: Asker, asks: Sequence[Ask], stop: Stop) -> AsyncIterator[Warmed]:
    """Asks one question after the other, so that callers have the service to themselves but for one.

    Says how far it has come at once, and after each question. Raises DeadlineExceeded; another failure is that of its
    question.
    """
    warmed = Warmed(total=len(asks))
    yield warmed
    for ask in asks:
        stop.check()
        warmed = dataclasses.replace(warmed, query=ask.query, failure=None)
        try:
            asked = await asker.ask(ask, stop)
        except RagError as error:
            stop.check()
            warmed = dataclasses.replace(warmed, failed=warmed.failed + 1, failure=error)
        else:
            use = asked.cache
            how = "stored" if use.answer_hit else "revalidated" if use.is_revalidated else "generated"
            warmed = dataclasses.replace(warmed, **{how: getattr(warmed, how) + 1})
        yield warmed


def seconds_since(days: float) -> float:
    """The time so many days ago, seconds since the epoch."""
    return time.time() - days * _DAY_SECONDS


def most_frequent(
    sessions: SessionStore, count: int, since: float, stop: Stop, is_meant: Callable[[StoredTurn], bool]
) -> list[str]:
    """The questions that were asked most often in sessions since `since`, the most frequent first.

    Seconds since the epoch; of the turns that `is_meant` says. Those that needed the history of their session are left
    out: the answer depends on it. Raises SessionsUnavailable and DeadlineExceeded.
    """
    times: Counter[str] = Counter()
    after, more = "", True
    while more:
        page, more = sessions.page(_SESSIONS_AT_ONCE, after)
        for session in page:
            stop.check()
            if session.updated < since:
                more = False  # the others are older
                break
            for turn in sessions.turns(session.session_id):
                if turn.created >= since and turn.query == turn.resolved_query and is_meant(turn):
                    times[turn.query] += 1
        after = page[-1].session_id if page else ""
    return [query for query, _ in heapq.nsmallest(count, times.items(), key=lambda item: (-item[1], item[0]))]


async def keep_warm(corpora: Corpora, warm_corpus: Callable[[str], Awaitable[None]]) -> None:
    """Warms each corpus by its name when it has another active version than before. Runs until it is cancelled."""

    def active() -> dict[str, str]:
        return {name: corpus.active.corpus_id for name, corpus in corpora.all().items()}

    known = await asyncio.to_thread(active)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        before, known = known, await asyncio.to_thread(active)
        for name in known:
            if before.get(name) != known[name]:
                try:
                    await warm_corpus(name)
                except Exception:  # the next version may have more luck
                    logger.exception("corpus %r is not warmed", name)
