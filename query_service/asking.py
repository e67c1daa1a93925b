"""Asking: the answer cache before the answering, and one answering for all who ask the same at once."""

import dataclasses
import functools
import logging
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from query_service import drafts
from query_service.answer import Answer
from query_service.answering import Answerer, Ask, Means
from query_service.catalog import Opened
from query_service.drafts import Draft, ReusingGenerator
from query_service.events import Listener, to_nobody
from query_service.flights import Flights
from query_service.retrieving import CacheUse, age_ms, approximately
from query_service.stop import Stop
from query_service.workers import Workers
from rag_papers.persist.answer_cache import AnswerCache, AnswerKey
from rag_papers.persist.caching import BYPASS, CachePolicy
from rag_papers.persist.claims import Claims
from rag_papers.persist.sqlite_store import SqliteStore

logger = logging.getLogger(__name__)

_MARK = b"answer 3\n"
"""What every stored answer begins with; the lengths of answer and question follow, these, and the drafts it came of."""

_LENGTHS = struct.Struct("<II")
_HEAD = len(_MARK) + _LENGTHS.size


class Asked(NamedTuple):  # as CacheUse
    """An answer, and what belongs to this call alone."""

    data: bytes | memoryview
    """What `encode` made of the answer."""
    corpus: str
    cache: CacheUse
    timings_ms: Mapping[str, float] = MappingProxyType({})
    """By step; empty for an answer that was not made for this call."""
    is_complete: bool = True
    """Another caller can be given it."""


class Asker:
    """Answers questions, on the event loop; what takes time is done by `workers`."""

    def __init__(
        self,
        *,
        answerer: Answerer,
        store: SqliteStore,
        claims: Claims,
        workers: Workers,
        encode: Callable[[Answer], bytes],
    ) -> None:
        """`encode` makes the bytes that are stored and given out: a hit and a miss have the same."""
        self._answerer = answerer
        self._answers = AnswerCache(store)
        self._flights = Flights[Asked](claims)
        self._workers = workers
        self._encode = encode

    def stored(self, ask: Ask) -> Asked | None:
        """The stored answer, if it may be given and is at hand: in tens of microseconds, without a thread."""
        if not ask.policy.read:
            return None
        means = self._answerer.known_means(ask)
        return self._stored(_key(ask, means), means) if means else None

    async def ask(self, ask: Ask, stop: Stop, listener: Listener = to_nobody) -> Asked:
        """The answer, from the cache where the policy allows it. Raises RagError.

        Of equal calls one makes the answer. `listener` is told of a plan that runs for this call, and of nothing if
        none does.
        """
        if stored := self.stored(ask):
            return stored
        means = await self._workers.run(functools.partial(self._answerer.means, ask), stop)
        key = _key(ask, means)
        policy = means.opened.caching(ask.policy)
        work = functools.partial(
            self._workers.run, functools.partial(self._made, ask, means, key, policy, stop, listener), stop
        )
        if ask.policy == BYPASS:
            return await work()
        # A refresh is content with what another one makes, and with nothing else.
        flight = key.digest() + bytes([ask.policy.read])
        asked, own = await self._flights.fly(flight, stop, work, lambda made: made.is_complete)
        if own:
            return asked
        return Asked(data=asked.data, corpus=means.opened.corpus, cache=CacheUse(answer_hit=True))

    def opened(self, corpus: str) -> Opened:
        """The active version of a corpus. For threads. Raises RagError."""
        return self._answerer.opened(corpus)

    def asked_again(self, opened: Opened | None, count: int, since: float) -> list[str]:
        """Questions whose stored answer was given out after it was made, and since `since`, the last of them first.

        Seconds since the epoch; at most `count`; of the versions of one corpus, or of all. For threads.
        """
        corpus_ids = [opened.index.corpus_id, *opened.other_versions] if opened else None
        queries: dict[str, None] = {}
        for value in self._answers.used_last(corpus_ids, since):
            if (answer := _answer_of(value)) is not None and (query := _query_of(value, answer)):
                queries[query.decode(errors="replace")] = None
            if len(queries) == count:
                break
        return list(queries)

    def _made(
        self, ask: Ask, means: Means, key: AnswerKey, policy: CachePolicy, stop: Stop, listener: Listener
    ) -> Asked:
        if policy.read and (stored := self._stored(key, means)):
            return stored
        generator = ReusingGenerator(means.generator, self._earlier_drafts(key, means) if policy.read else {})
        means = means._replace(generator=generator)
        answered = self._answerer.answer(ask, means, policy, stop, listener)
        data = self._encode(answered.answer)
        is_complete = answered.answer.is_complete
        if policy.write and is_complete:
            # A question that is only half of what was asked is not worth being asked again.
            query = b"" if key.history or key.filter else key.query.encode()
            lengths = _LENGTHS.pack(len(data), len(query))
            self._answers.put(key, b"".join((_MARK, lengths, data, query, drafts.encode(generator.drafts))))
        return Asked(
            data=data,
            corpus=means.opened.corpus,
            cache=answered.cache._replace(is_revalidated=generator.is_spared),
            timings_ms=answered.timings_ms,
            is_complete=is_complete,
        )

    def _stored(self, key: AnswerKey, means: Means) -> Asked | None:
        entry = self._answers.get(key)
        if entry is None or (data := _answer_of(entry.value)) is None:
            return None
        return Asked(
            data=data,
            corpus=means.opened.corpus,
            cache=CacheUse(answer_hit=True, age_ms=age_ms(entry.created)),
        )

    def _earlier_drafts(self, key: AnswerKey, means: Means) -> Mapping[str, Draft]:
        """What the answer to the same question came of in the version of the corpus that was asked it last."""
        for corpus_id in means.opened.other_versions:
            entry = self._answers.get(dataclasses.replace(key, corpus_id=corpus_id))
            if entry and (data := _answer_of(entry.value)) is not None:
                return drafts.decode(entry.value[_HEAD + len(data) + len(_query_of(entry.value, data)) :])
        return {}


def _query_of(value: bytes, answer: memoryview) -> bytes:
    """The question in what is stored with `answer`; empty if its text is not all that was asked."""
    start = _HEAD + len(answer)
    return value[start : start + _LENGTHS.unpack_from(value, len(_MARK))[1]]


def _answer_of(value: bytes) -> memoryview | None:
    """The answer in what is stored; None if that is damaged."""
    if value.startswith(_MARK) and len(value) >= _HEAD:
        end = _HEAD + _LENGTHS.unpack_from(value, len(_MARK))[0]
        if _HEAD < end <= len(value):
            return memoryview(value)[_HEAD:end]
    logger.warning("a cached answer is damaged, or of an earlier version of the service, and ignored")
    return None


def _key(ask: Ask, means: Means) -> AnswerKey:
    index = means.opened.index
    approximate = approximately(index, ask.filter, ask.config.exact)
    identities = means.generator.identity, means.reranker.identity, means.pipeline
    return _remembered_key(ask, index.corpus_id, approximate, *identities)


@functools.lru_cache(4096)
def _remembered_key(
    ask: Ask, corpus_id: str, approximate: bool, generator: str, reranker: str, pipeline: str
) -> AnswerKey:
    return AnswerKey(
        query=ask.query,
        intent=ask.intent,
        corpus_id=corpus_id,
        filter=ask.filter,
        approximate=approximate,
        config=dataclasses.asdict(ask.config),
        generator=generator,
        reranker=reranker,
        pipeline=pipeline,
        history=ask.history,
    )
