"""Verifying answers that others wrote: passages that are given or retrieved, and what they have for each sentence."""

import dataclasses
from collections.abc import Sequence

from query_service.answering import Answerer, Ask
from query_service.config import AskConfig
from query_service.generators.base import DraftSentence
from query_service.question import Question
from query_service.running import context
from query_service.stop import Stop
from query_service.verification.entailment import EntailmentByName
from query_service.verification.verify import Verdict, verify_text
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.index_store import PassageRecord

READ_ONLY = CachePolicy(read=True, write=False)
"""What a verification does with the caches: the texts are a caller's own, and of no use to others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A valid request for a verification."""

    answer: str
    ask: Ask
    """The question, and where its passages come from if none are given."""
    passages: tuple[PassageRecord, ...]
    """Given ones; empty: to be retrieved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verified:
    """An answer that was judged."""

    sentences: Sequence[DraftSentence]
    verdict: Verdict
    """With a judgement of each sentence, unless the answer declines."""
    passages: Sequence[PassageRecord]
    """What it was held against."""
    is_accepted: bool
    corpus: str
    """Empty if the passages were given."""
    corpus_id: str


class Verifier:
    """Judges answers. Safe to use from several threads."""

    def __init__(self, answerer: Answerer, entailment: EntailmentByName) -> None:
        self._answerer = answerer
        self._entailment = entailment

    def verify(self, claim: Claim, stop: Stop) -> Verified:
        """What the passages have for an answer. Raises RagError."""
        stop.check()
        return self._by_passages(claim, stop) if claim.passages else self._by_papers(claim, stop)

    def _by_passages(self, claim: Claim, stop: Stop) -> Verified:
        question = Question(text=claim.ask.query, intent=claim.ask.intent)
        model = self._entailment.model()
        sentences, verdict = verify_text(
            question,
            claim.answer,
            claim.passages,
            vectors=self._answerer.vectors(READ_ONLY, stop),
            entailment=model.for_call(stop) if model else None,
            stop=stop,
        )
        return _verified(claim, sentences, verdict, claim.passages, "", "")

    def _by_papers(self, claim: Claim, stop: Stop) -> Verified:
        # No answer is written, so that whoever would write it need not be there.
        ask = dataclasses.replace(
            claim.ask, config=dataclasses.replace(claim.ask.config, generator=AskConfig.generator)
        )
        means = self._answerer.means(ask)
        task = self._answerer.task(ask, means, READ_ONLY, stop)
        passages = [passage.record for passage in context(task).passages]
        index = means.opened.index
        sentences, verdict = verify_text(
            task.question,
            claim.answer,
            passages,
            idf=index.bm25.idf,
            vectors=task.vectors,
            entailment=task.entailment,
            stop=stop,
        )
        return _verified(claim, sentences, verdict, passages, means.opened.corpus, index.corpus_id)


def _verified(
    claim: Claim,
    sentences: Sequence[DraftSentence],
    verdict: Verdict,
    passages: Sequence[PassageRecord],
    corpus: str,
    corpus_id: str,
) -> Verified:
    return Verified(
        sentences=() if verdict.declines else sentences,
        verdict=verdict,
        passages=passages,
        is_accepted=verdict.score >= claim.ask.config.accept_threshold,
        corpus=corpus,
        corpus_id=corpus_id,
    )
