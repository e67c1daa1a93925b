"""Asking: the answer cache before the plan."""

import dataclasses
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from query_service.catalog import Catalog
from query_service.config import AskConfig
from query_service.encoders import CallVectors, Encoders
from query_service.events import Listener, to_nobody
from query_service.evidence import Coverage, RankedPassage
from query_service.generators import GENERATORS
from query_service.generators.base import DraftSentence
from query_service.plan import Step
from query_service.question import Intent, Question
from query_service.rerankers import Rerankers
from query_service.retrieving import CacheUse, age_ms, approximately
from query_service.running import Run, run
from query_service.steps import AbstainReason, Task
from query_service.stop import Stop
from query_service.verify import Issue
from rag_papers.persist.answer_cache import AnswerCache, AnswerKey
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.retrieval_cache import RetrievalCache
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.filtering import Filter

logger = logging.getLogger(__name__)

PIPELINE = "2"
"""Version of the steps and the verifier; changed when an equal question may get another answer."""

ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)


class Status(StrEnum):
    """How an answer ended; the names are those of the contract's AnswerStatus."""

    ANSWERED = "answered"
    PARTIAL = "partial"
    ABSTAINED = "abstained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """A valid request for an answer."""

    query: str
    """Normalised."""
    intent: Intent
    corpus: str
    corpus_id: str
    filter: Filter
    config: AskConfig
    policy: CachePolicy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """All of an answer that does not differ from call to call: what is cached."""

    text: str
    status: Status
    abstain_reason: AbstainReason | None
    sentences: tuple[DraftSentence, ...]
    supported: tuple[bool, ...]
    """For each sentence."""
    sources: tuple[RankedPassage, ...]
    score: float
    accepted: bool
    issues: tuple[Issue, ...]
    intent: Intent
    path: tuple[Step, ...]
    steps_skipped: tuple[Step, ...]
    """Left out for want of time; such an answer is not cached."""
    context_chars: int
    repair_used: bool
    config: AskConfig
    corpus_id: str
    generator: str


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

    def __init__(
        self, catalog: Catalog, encoders: Encoders, rerankers: Rerankers, store: SqliteStore, codec: Codec[ResponseT]
    ) -> None:
        self._catalog = catalog
        self._encoders = encoders
        self._rerankers = rerankers
        self._answers = AnswerCache(store)
        self._retrieval = RetrievalCache(store)
        self._codec = codec

    def ask(self, ask: Ask, stop: Stop, listener: Listener = to_nobody) -> Asked[ResponseT]:
        """The answer, from the cache where the policy allows it. Raises RagError.

        `listener` is told of a plan that runs, and of nothing if none does.
        """
        stop.check()
        opened = self._catalog.find(ask.corpus, ask.corpus_id)
        index, generator = opened.index, GENERATORS[ask.config.generator]
        reranker = self._rerankers.of(ask.config.reranker)
        key = AnswerKey(
            query=ask.query,
            intent=ask.intent,
            corpus_id=index.corpus_id,
            filter=ask.filter,
            approximate=approximately(index, ask.filter, ask.config.exact),
            config=dataclasses.asdict(ask.config),
            generator=generator.identity,
            reranker=reranker.identity,
            pipeline=PIPELINE,
        )
        if ask.policy.read and (stored := self._stored(key)):
            response, age = stored
            return Asked(
                response=response,
                corpus=opened.corpus,
                cache=CacheUse(answer_hit=True, age_ms=age),
                timings_ms={},
            )
        policy = opened.caching(ask.policy)
        question = Question(text=ask.query, intent=ask.intent)
        vectors = CallVectors(self._encoders, index.manifest, policy, stop) if ask.config.uses_vectors else None
        ran = run(
            Task(
                question=question,
                config=ask.config,
                filter=ask.filter,
                index=index,
                generator=generator,
                reranker=reranker,
                retrieval_cache=self._retrieval,
                vectors=vectors,
                policy=policy,
                coverage=Coverage(question.terms, index.bm25.idf),
                stop=stop,
            ),
            stop,
            listener,
        )
        data = self._codec.encode(_answer(ran))
        if policy.write and not ran.skipped:
            self._answers.put(key, data)
        return Asked(
            response=self._codec.decode(data),
            corpus=opened.corpus,
            cache=CacheUse.of(ran.rankings, vectors),
            timings_ms=ran.timings_ms,
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


def _answer(ran: Run) -> Answer:
    best = ran.best
    task = best.task
    given = Status.ANSWERED if best.is_accepted else Status.PARTIAL
    return Answer(
        text=best.text,
        status=Status.ABSTAINED if best.abstain_reason else given,
        abstain_reason=best.abstain_reason,
        sentences=tuple(best.draft),
        supported=best.verdict.supported,
        sources=tuple(best.passages),
        score=best.verdict.score,
        accepted=best.is_accepted,
        issues=best.verdict.issues,
        intent=task.question.intent,
        path=ran.path,
        steps_skipped=ran.skipped,
        context_chars=best.context_chars,
        repair_used=best.repair > 0,
        config=task.config,
        corpus_id=task.index.corpus_id,
        generator=task.generator.identity,
    )
