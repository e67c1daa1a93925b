"""Asking: the answer cache before the answering."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from query_service.answer import Answer
from query_service.answering import PIPELINE, Answerer, Ask, Means
from query_service.events import Listener, to_nobody
from query_service.retrieving import CacheUse, age_ms, approximately
from query_service.stop import Stop
from rag_papers.persist.answer_cache import AnswerCache, AnswerKey
from rag_papers.persist.sqlite_store import SqliteStore

logger = logging.getLogger(__name__)

ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)


class Codec(Protocol[ResponseT_co]):
    """How answers are stored. A hit and a miss give the same, because both are decoded from the same bytes."""

    def encode(self, answer: Answer) -> bytes:
        """The bytes to store."""

    def decode(self, data: bytes) -> ResponseT_co:
        """What the caller gets. Raises ValueError if `data` is not what `encode` makes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked(Generic[ResponseT]):
    """An answer, and what belongs to this call alone."""

    response: ResponseT
    corpus: str
    cache: CacheUse
    timings_ms: Mapping[str, float]
    """By step; empty for a cached answer."""


class Asker(Generic[ResponseT]):
    """Answers questions. Safe to use from several threads."""

    def __init__(self, answerer: Answerer, store: SqliteStore, codec: Codec[ResponseT]) -> None:
        self._answerer = answerer
        self._answers = AnswerCache(store)
        self._codec = codec

    def ask(self, ask: Ask, stop: Stop, listener: Listener = to_nobody) -> Asked[ResponseT]:
        """The answer, from the cache where the policy allows it. Raises RagError.

        `listener` is told of a plan that runs, and of nothing if none does.
        """
        stop.check()
        means = self._answerer.means(ask)
        key = _key(ask, means)
        corpus = means.opened.corpus
        if ask.policy.read and (stored := self._stored(key)):
            response, age = stored
            return Asked(response=response, corpus=corpus, cache=CacheUse(answer_hit=True, age_ms=age), timings_ms={})
        policy = means.opened.caching(ask.policy)
        answered = self._answerer.answer(ask, means, policy, stop, listener)
        data = self._codec.encode(answered.answer)
        if policy.write and answered.answer.is_complete:
            self._answers.put(key, data)
        return Asked(
            response=self._codec.decode(data), corpus=corpus, cache=answered.cache, timings_ms=answered.timings_ms
        )

    def _stored(self, key: AnswerKey) -> tuple[ResponseT, int] | None:
        entry = self._answers.get(key)
        if entry is None:
            return None
        try:
            return self._codec.decode(entry.value), age_ms(entry.created)
        except ValueError as error:
            logger.warning("a cached answer is damaged and ignored: %s", error)
            return None


def _key(ask: Ask, means: Means) -> AnswerKey:
    index = means.opened.index
    return AnswerKey(
        query=ask.query,
        intent=ask.intent,
        corpus_id=index.corpus_id,
        filter=ask.filter,
        approximate=approximately(index, ask.filter, ask.config.exact),
        config=dataclasses.asdict(ask.config),
        generator=means.generator.identity,
        reranker=means.reranker.identity,
        pipeline=PIPELINE,
    )
