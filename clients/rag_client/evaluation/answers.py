"""Every question of a dataset put to Ask, and each answer measured."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from rag_client import QueryClient
from rag_client.evaluation.asking import ask_all, named
from rag_client.evaluation.dataset import Question
from rag_client.evaluation.judging import citation_rank, keyword_recall
from rag_client.words import word
from rag_papers.errors import DeadlineExceeded, InvalidRequest
from rag_papers.v1.query_pb2 import AbstainReason, AnswerIssue, AnswerStatus, AskConfig, AskResponse

FAILED = "failed"
"""The status of a question whose answer was not ready in time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A question and what came of it; a field is a column of the table of results."""

    id: str
    query: str
    intent: str
    """Given, else detected."""
    status: str
    """answered, partial, abstained or failed."""
    reason: str = ""
    """Why the service abstained, or the error of a question that failed."""
    score: float = 0.0
    accepted: bool = False
    accepted_first: bool = False
    """Accepted before any repair."""
    repaired: bool = False
    """A repair was tried."""
    repair_used: bool = False
    """The answer is that of a repair."""
    issues: tuple[str, ...] = ()
    keyword_recall: float | None = None
    """Share of the expected keywords in the answer; None without any."""
    citation_overlap: bool | None = None
    """Whether a citation overlaps a gold span; None without any."""
    citation_rank: int | None = None
    """The first sentence, from 1, whose citation does."""
    latency_ms: float
    """Of the call, as the client sees it."""
    answer_hit: bool = False
    """The answer came from the answer cache."""
    answer: str = ""
    generator: str = ""
    config: str = ""
    """The settings in effect, a JSON object."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The rows of a run, and the version that answered."""

    corpus: str
    corpus_id: str
    rows: Sequence[Row]


def check(client: QueryClient, questions: Sequence[Question], config: AskConfig) -> None:
    """Has the service look at every question, without answering any; InvalidRequest names the line it refuses."""
    for question in questions:
        try:
            client.plan(question.query, intent=question.intent, config=config)
        except InvalidRequest as error:
            if error.violations.keys() & {"query", "intent"}:
                raise InvalidRequest(f"{question.place}: {error.message}", error.violations) from error
            raise


def evaluate(
    client: QueryClient,
    questions: Sequence[Question],
    *,
    concurrency: int = 1,
    advance: Callable[[], None] = lambda: None,
    corpus: str = "",
    corpus_id: str = "",
    **request: Any,
) -> Evaluation:
    """Asks every question, at most `concurrency` at once; `request` goes to each `QueryClient.ask`.

    `advance` is called for every question that is done. A question whose deadline passes is a row that failed; any
    other failure ends the run. Raises RagError.
    """
    # Opens index and model before anything is measured, and names the version that all questions go to, so that a
    # publication in between cannot mix two.
    opened = client.search(questions[0].query, corpus=corpus, corpus_id=corpus_id, top_k=1, use_cache=False)
    pinned = request | {"corpus": opened.corpus, "corpus_id": opened.corpus_id}

    def ask(question: Question) -> Row:
        start = time.perf_counter()
        try:
            with named(question.id):
                response = client.ask(question.query, intent=question.intent, **pinned)
        except DeadlineExceeded as error:
            return _failed(question, error.reason, (time.perf_counter() - start) * 1000)
        return _row(question, response, (time.perf_counter() - start) * 1000)

    rows = ask_all(ask, questions, concurrency, advance)
    return Evaluation(corpus=opened.corpus, corpus_id=opened.corpus_id, rows=rows)


def _failed(question: Question, reason: str, milliseconds: float) -> Row:
    return Row(
        id=question.id,
        query=question.query,
        intent=question.intent,
        status=FAILED,
        reason=reason,
        keyword_recall=keyword_recall("", question.expected_keywords),
        citation_overlap=False if question.gold_spans else None,
        latency_ms=milliseconds,
    )


def _row(question: Question, response: AskResponse, milliseconds: float) -> Row:
    abstained = response.status == AnswerStatus.ANSWER_STATUS_ABSTAINED
    repaired = "repair" in response.path
    rank = citation_rank(response, question.gold_spans)
    return Row(
        id=question.id,
        query=question.query,
        intent=response.intent,
        status=word(AnswerStatus, response.status),
        reason=word(AbstainReason, response.abstain_reason) if abstained else "",
        score=response.score,
        accepted=response.accepted,
        accepted_first=response.accepted and not repaired,
        repaired=repaired,
        repair_used=response.repair_used,
        issues=tuple(word(AnswerIssue, issue) for issue in response.issues),
        keyword_recall=keyword_recall("" if abstained else response.answer, question.expected_keywords),
        citation_overlap=rank is not None if question.gold_spans else None,
        citation_rank=rank,
        latency_ms=milliseconds,
        answer_hit=response.cache.answer_hit,
        answer=response.answer,
        generator=response.generator,
        config=json.dumps(MessageToDict(response.config, preserving_proto_field_name=True), sort_keys=True),
    )
