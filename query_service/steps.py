"""The steps of a plan, and the attempt at an answer that they work on."""

import dataclasses
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import numpy as np

from query_service.config import AskConfig, SearchConfig
from query_service.encoders import CallVectors
from query_service.evidence import (
    Coverage,
    Evidence,
    RankedPassage,
    Sentence,
    by_source,
    counted_terms,
    heading_terms,
    sentences_of,
    sides_first,
    statements,
)
from query_service.generators.base import Assignment, DraftSentence, Generator
from query_service.plan import Step
from query_service.question import Intent, Question
from query_service.rerankers import NO_RERANKER
from query_service.rerankers.base import Reranker, Retrieved, rerank
from query_service.retrieving import Ranking, Rankings, retrieve
from query_service.stop import Stop
from query_service.verification.support import Context, Entailment
from query_service.verification.verify import Verdict, verify
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.index_store import OpenIndex
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.fusion import Candidate
from rag_papers.retrieval.search import search

_T = TypeVar("_T")

# Of a comparison: passages that are retrieved for each side, and sentences that are kept of each before all others.
_OF_A_SIDE, _KEPT_OF_A_SIDE = 4, 2

NO_ANSWER = "The papers do not say."
"""The answer of an abstention."""


class AbstainReason(StrEnum):
    """Why there is no answer; the names are those of the contract."""

    NOTHING_RETRIEVED = "nothing_retrieved"
    WEAK_EVIDENCE = "weak_evidence"
    NOT_STATED = "not_stated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A question and all that is needed to answer it."""

    question: Question
    config: AskConfig
    filter: Filter
    """Of every retrieval, those of repairs too."""
    index: OpenIndex
    generator: Generator
    reranker: Reranker
    rankings: Rankings
    vectors: CallVectors | None
    """None if no retrieval gives the vectors weight."""
    policy: CachePolicy
    coverage: Coverage
    entailment: Entailment | None
    """None: the rules of the verifier decide alone."""
    stop: Stop

    def counted(self, sentence: Sentence) -> frozenset[str]:
        """The terms by which a sentence is measured."""
        return counted_terms(self.question, sentence.terms, sentence.record)

    def measured(self, passage: RankedPassage, sentence: Sentence) -> Evidence:
        """A sentence as evidence, without its cosine and source."""
        above = heading_terms(passage.record.title, passage.record.section)
        before = sentence.before.terms if sentence.before else frozenset()
        passage_score = passage.candidate.score
        if self.question.intent is Intent.SUMMARIZATION:  # asked for by its title, which it need not repeat
            passage_score = max(passage_score, self.coverage.of(above))
        return Evidence(
            sentence=sentence,
            source=0,
            passage_score=passage_score,
            coverage=self.coverage.of(sentence.terms | above),
            coverage_before=self.coverage.of(sentence.terms | before),
            cosine=None,
        )


@dataclasses.dataclass(kw_only=True)
class Attempt:
    """What the steps have made so far; each one reads what those before it left."""

    task: Task
    repair: int
    """0 for the first attempt."""
    say: Callable[[str], None]
    """Takes text that the generator is certain of."""
    ranking: Ranking = dataclasses.field(default_factory=lambda: Ranking(candidates=(), hit=False, age_ms=0))
    passages: Sequence[RankedPassage] = ()
    """Best first; after contextualizing those that the context is made of."""
    evidence: Sequence[Evidence] = ()
    """The context in reading order."""
    draft: Sequence[DraftSentence] = ()
    abstain_reason: AbstainReason | None = None
    verdict: Verdict = dataclasses.field(default_factory=lambda: Verdict(score=0.0))

    @property
    def config(self) -> SearchConfig:
        """How passages are retrieved."""
        return self.task.config.search(self.repair)

    @property
    def context_chars(self) -> int:
        """Characters of the context."""
        return sum(len(item.sentence.quote) for item in self.evidence)

    @property
    def strength(self) -> float:
        """How well an answer may rest on the best of the evidence, in [0, 1]; 0 without any."""
        return max((item.strength for item in statements(self.evidence)), default=0.0)

    @property
    def text(self) -> str:
        """The answer."""
        return " ".join(sentence.text for sentence in self.draft) or NO_ANSWER

    @property
    def is_accepted(self) -> bool:
        """Whether the verifier's score reaches the threshold."""
        return self.verdict.score >= self.task.config.accept_threshold


def _retrieve(attempt: Attempt) -> None:
    attempt.ranking = _ranking(attempt, attempt.task.question.text, attempt.config)


def _retrieve_sides(attempt: Attempt) -> None:
    """Adds the best passages for each side of a comparison, with the scores that they have for the whole question."""
    task, config = attempt.task, attempt.config
    found = {candidate.position for candidate in attempt.ranking.candidates}
    of_sides = [
        _ranking(attempt, side, dataclasses.replace(config, top_k=min(_OF_A_SIDE, config.top_k)))
        for side in task.question.compared
    ]
    added = {candidate.position for ranking in of_sides for candidate in ranking.candidates} - found
    attempt.ranking = dataclasses.replace(
        attempt.ranking,
        candidates=(*attempt.ranking.candidates, *_candidates(task, config, added)),
        hit=all(ranking.hit for ranking in (attempt.ranking, *of_sides)),
    )


def _candidates(task: Task, config: SearchConfig, positions: Collection[int]) -> Sequence[Candidate]:
    """The passages at `positions` as retrieval would find them for the question."""
    if not positions:
        return ()
    question = task.question.text
    return search(
        task.index,
        question,
        task.vectors.query(question) if task.vectors and config.vector_weight else None,
        bm25_weight=config.bm25_weight,
        vector_weight=config.vector_weight,
        top_k=len(positions),
        among=np.array(sorted(positions)),
    )


def _ranking(attempt: Attempt, query: str, config: SearchConfig) -> Ranking:
    task = attempt.task
    return retrieve(task.rankings, task.index, query, task.filter, config, task.vectors, task.policy, task.stop)


def _rerank(attempt: Attempt) -> None:
    _order(attempt, attempt.task.reranker)


def keep_fused_order(attempt: Attempt) -> None:
    """What stands in for reranking where there is no time for it."""
    _order(attempt, NO_RERANKER)


def _order(attempt: Attempt, reranker: Reranker) -> None:
    task = attempt.task
    passages = []
    for candidate in attempt.ranking.candidates:
        record = task.index.passage(candidate.position)
        passages.append(
            RankedPassage(candidate=candidate, record=record, score=candidate.score, sentences=sentences_of(record))
        )
    retrieved = Retrieved(
        question=task.question, passages=passages, coverage=task.coverage, vectors=task.vectors, stop=task.stop
    )
    ranked = rerank(reranker, retrieved)
    kept = sides_first(task.question, ranked, _terms, 1)[: task.config.rerank_top_k]
    attempt.passages = sorted(kept, key=lambda passage: (-passage.score, passage.candidate.position))


def _prune(attempt: Attempt) -> None:
    """Keeps the sentences that share enough words with the question; of identical ones the first."""
    task = attempt.task
    enough = min(task.config.prune_min_overlap + attempt.repair, len(task.question.terms))
    different: dict[str, tuple[RankedPassage, Sentence]] = {}
    for passage in attempt.passages:
        for sentence in passage.sentences:
            if task.coverage.overlap(task.counted(sentence)) >= enough:
                different.setdefault(sentence.text, (passage, sentence))
    kept = _fitting(
        task.question,
        list(different.values()),
        task.config.prune_max_chars,
        sentence=operator.itemgetter(1),
        value=lambda item: task.measured(*item).relevance,
    )
    attempt.passages = [
        dataclasses.replace(passage, sentences=tuple(sentence for _, sentence in group))
        for passage, group in itertools.groupby(kept, key=operator.itemgetter(0))
    ]


def _contextualize(attempt: Attempt) -> None:
    """Measures what is left against the question, and keeps the best of it that the context has room for."""
    task = attempt.task
    sentences = [sentence for passage in attempt.passages for sentence in passage.sentences]
    cosines: Iterable[float | None] = itertools.repeat(None)
    if task.vectors and sentences:
        vectors = task.vectors.texts([sentence.text for sentence in sentences])
        cosines = (vectors @ task.vectors.query(task.question.text)).tolist()
    measure = iter(cosines)
    evidence = [
        dataclasses.replace(task.measured(passage, sentence), source=source, cosine=next(measure))
        for source, passage in enumerate(attempt.passages)
        for sentence in passage.sentences
    ]
    kept = _fitting(
        task.question,
        evidence,
        task.config.context_max_chars,
        sentence=lambda item: item.sentence,
        value=lambda item: item.relevance,
    )
    used = sorted({item.source for item in kept})
    attempt.passages = [attempt.passages[source] for source in used]
    attempt.evidence = [dataclasses.replace(item, source=used.index(item.source) + 1) for item in kept]


def _generate(attempt: Attempt) -> None:
    """Writes the answer, unless no evidence is strong enough to rest one on."""
    task = attempt.task
    if not attempt.ranking.candidates:
        attempt.abstain_reason = AbstainReason.NOTHING_RETRIEVED
    elif not attempt.evidence or attempt.strength < task.config.abstain_threshold:
        attempt.abstain_reason = AbstainReason.WEAK_EVIDENCE
    else:
        attempt.draft = task.generator.generate(
            Assignment(
                question=task.question,
                evidence=attempt.evidence,
                strict=attempt.repair > 0,
                temperature=task.config.temperature_on_repair if attempt.repair else task.config.temperature,
                seed=task.config.seed,
                stop=task.stop,
                say=attempt.say,
            )
        )
        if not attempt.draft:
            attempt.abstain_reason = AbstainReason.WEAK_EVIDENCE


def _verify(attempt: Attempt) -> None:
    """Judges the answer, and lets each sentence cite just the bytes that it was found to rest on."""
    if attempt.abstain_reason is not None:
        return
    task = attempt.task
    context = Context(by_source(attempt.evidence), task.index.bm25.idf, task.vectors, task.entailment, task.stop)
    attempt.verdict = verify(task.question, task.coverage, attempt.draft, context)
    if attempt.verdict.declines:
        attempt.abstain_reason = AbstainReason.NOT_STATED
    else:
        attempt.draft = [
            dataclasses.replace(sentence, citations=judged.citations)
            for sentence, judged in zip(attempt.draft, attempt.verdict.sentences, strict=True)
        ]


STEPS: Mapping[Step, Callable[[Attempt], None]] = {
    Step.RETRIEVE: _retrieve,
    Step.RETRIEVE_SIDES: _retrieve_sides,
    Step.RERANK: _rerank,
    Step.PRUNE: _prune,
    Step.CONTEXTUALIZE: _contextualize,
    Step.GENERATE: _generate,
    Step.VERIFY: _verify,
}
"""What each step does to an attempt. A repair is no work on an attempt but the next one."""


def _terms(passage: RankedPassage) -> frozenset[str]:
    return frozenset[str]().union(*(sentence.terms for sentence in passage.sentences))


def _fitting(
    question: Question,
    items: Sequence[_T],
    budget: int,
    *,
    sentence: Callable[[_T], Sentence],
    value: Callable[[_T], float],
) -> list[_T]:
    """The most valuable items that fit the budget together, in the order given; a later short one may fit still."""
    best_first = sorted(range(len(items)), key=lambda number: -value(items[number]))
    chosen: list[int] = []
    for number in sides_first(question, best_first, lambda number: sentence(items[number]).terms, _KEPT_OF_A_SIDE):
        size = len(sentence(items[number]).quote)
        if size <= budget:
            budget -= size
            chosen.append(number)
    return [items[number] for number in sorted(chosen)]
