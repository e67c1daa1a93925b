"""Answering: a question and what it is answered with, to the answer, by running the plan."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

from query_service.answer import Answer
from query_service.catalog import Catalog, Opened
from query_service.config import AskConfig
from query_service.encoders import CallVectors, Encoders
from query_service.events import Listener, to_nobody
from query_service.evidence import Coverage
from query_service.generators import Generators
from query_service.generators.base import Generator
from query_service.question import Intent, Question
from query_service.rerankers import Rerankers
from query_service.rerankers.base import Reranker
from query_service.retrieving import CacheUse, Rankings
from query_service.running import run
from query_service.steps import Task
from query_service.stop import Stop
from query_service.verification.entailment import EntailmentByName, EntailmentModel
from rag_papers.errors import RagError
from rag_papers.persist.caching import CachePolicy
from rag_papers.retrieval.filtering import Filter

PIPELINE = "5"
"""Version of the steps and the verifier; changed when an equal question may get another answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """A valid request for an answer."""

    query: str
    """Normalised; complete, if it is a turn of a session."""
    intent: Intent
    intent_detected: bool
    """The intent was not given."""
    corpus: str
    corpus_id: str
    filter: Filter
    config: AskConfig
    policy: CachePolicy
    session_id: str = ""
    """The session that it is yet to become a turn of; "-": a new one; empty: none."""
    history: tuple[str, ...] = ()
    """Earlier questions of its session that `query` was completed from."""

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:  # once, as the same request is asked for again and again
        return hash((self.query, self.corpus, self.corpus_id, self.filter, self.config, self.policy, self.history))


class Means(NamedTuple):  # as CacheUse
    """What a question is answered with."""

    opened: Opened
    generator: Generator
    reranker: Reranker
    entailment: EntailmentModel | None

    @property
    def pipeline(self) -> str:
        """Version of the steps and the verifier, and of the model that takes part in it."""
        return f"{PIPELINE} {self.entailment.identity}" if self.entailment else PIPELINE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer that was just made, and how."""

    answer: Answer
    cache: CacheUse
    timings_ms: Mapping[str, float]
    """By step."""


class Answerer:
    """Makes answers. Safe to use from several threads."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        encoders: Encoders,
        rerankers: Rerankers,
        generators: Generators,
        entailment: EntailmentByName,
        rankings: Rankings,
    ) -> None:
        self._catalog = catalog
        self._encoders = encoders
        self._rerankers = rerankers
        self._generators = generators
        self._entailment = entailment
        self._rankings = rankings

    def opened(self, corpus: str, corpus_id: str = "") -> Opened:
        """The index that a corpus or a version of it is answered from. Raises RagError."""
        return self._catalog.find(corpus, corpus_id)

    def means(self, ask: Ask) -> Means:
        """What `ask` is answered with, as things stand. Raises RagError."""
        return Means(
            opened=self.opened(ask.corpus, ask.corpus_id),
            generator=self._generators.of(ask.config.generator),
            reranker=self._rerankers.of(ask.config.reranker),
            entailment=self._entailment.model(),
        )

    def known_means(self, ask: Ask) -> Means | None:
        """What `means` would say, if that can be told within microseconds."""
        opened = self._catalog.known(ask.corpus, ask.corpus_id)
        generator = self._generators.known(ask.config.generator)
        reranker = self._rerankers.known(ask.config.reranker)
        if not opened or not generator or not reranker or not self._entailment.is_known:
            return None
        return Means(opened=opened, generator=generator, reranker=reranker, entailment=self._entailment.model())

    def answer(
        self, ask: Ask, means: Means, policy: CachePolicy, stop: Stop, listener: Listener = to_nobody
    ) -> Answered:
        """Answers a question; `policy` is for the caches below that of answers. Raises RagError."""
        task = self.task(ask, means, policy, stop)
        ran = run(task, stop, listener)
        return Answered(answer=Answer.of(ran), cache=CacheUse.of(ran.rankings, task.vectors), timings_ms=ran.timings_ms)

    def vectors(self, policy: CachePolicy, stop: Stop) -> CallVectors | None:
        """Vectors of texts by the model of the corpus that was published last; None where that cannot be had."""
        try:
            manifest = self._catalog.find().index.manifest
            self._encoders.of(manifest)
        except RagError:
            return None
        return CallVectors(self._encoders, manifest, policy, stop)

    def task(self, ask: Ask, means: Means, policy: CachePolicy, stop: Stop) -> Task:
        """What is to be done to answer a question."""
        index = means.opened.index
        question = Question(text=ask.query, intent=ask.intent)
        return Task(
            question=question,
            config=ask.config,
            filter=ask.filter,
            index=index,
            generator=means.generator,
            reranker=means.reranker,
            rankings=self._rankings,
            vectors=CallVectors(self._encoders, index.manifest, policy, stop) if ask.config.uses_vectors else None,
            policy=policy,
            coverage=Coverage(question.terms, index.bm25.idf),
            entailment=means.entailment.for_call(stop) if means.entailment else None,
            stop=stop,
        )
