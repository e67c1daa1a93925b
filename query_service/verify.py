"""Verification: whether an answer is supported, covers the question and has the form that its intent asks for."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from enum import StrEnum

from query_service.evidence import Coverage, count_words, counted_terms, ends_like_a_statement, similarity
from query_service.generators.base import Citation, DraftSentence
from query_service.question import Intent, Question
from rag_papers.retrieval.analysis import normalise, terms

SUPPORT, COVERAGE, FORM = 0.4, 0.4, 0.2
"""Weights of the parts of the score; each part is in [0, 1]."""

_PARTLY_SUPPORTED = 0.25  # an answer with one unsupported sentence is not accepted by default, whatever the rest
_OFF_TOPIC = 0.3  # coverage below which an answer is about something else
_FAULT = 0.5  # what each fault of form takes from that part
_REPETITIVE = 0.8  # Jaccard index of two sentences' terms

_WORDS: Mapping[Intent, tuple[int, int]] = {
    Intent.DEFINITION: (5, 150),
    Intent.EXPLANATION: (8, 250),
    Intent.COMPARISON: (8, 250),
    Intent.HOW_TO: (5, 250),
    Intent.SUMMARIZATION: (15, 400),
    Intent.UNKNOWN: (3, 250),
}
"""Fewest and most words of an answer."""


class Issue(StrEnum):
    """What is wrong with an answer; the names are those of the contract's AnswerIssue."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    OFF_TOPIC = "off_topic"
    REPETITIVE = "repetitive"
    INCOMPLETE = "incomplete"
    UNSUPPORTED = "unsupported"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier thinks of an answer."""

    score: float
    """In [0, 1]: 0.4 support + 0.4 coverage + 0.2 form; 0 for no answer."""
    supported: tuple[bool, ...]
    """For each sentence."""
    issues: tuple[Issue, ...]


def verify(question: Question, coverage: Coverage, draft: Sequence[DraftSentence]) -> Verdict:
    """Judges an answer by what it cites; no model takes part.

    Support: 1 if every sentence is supported, else a quarter of the share that is. Coverage: of the question's content
    words by the supported sentences. Form: 1, less a half for each fault.
    """
    if not draft:
        return Verdict(score=0.0, supported=(), issues=(Issue.TOO_SHORT,))
    found = [frozenset(terms(sentence.text)) for sentence in draft]
    supported = tuple(_is_supported(question, sentence, its) for sentence, its in zip(draft, found, strict=True))
    taken_up = [_counted(question, sentence, its) for sentence, its in zip(draft, found, strict=True)]
    covered = coverage.of(frozenset[str]().union(*itertools.compress(taken_up, supported)))
    faults = _faults_of_form(question.intent, draft, found)
    support = 1.0 if all(supported) else _PARTLY_SUPPORTED * sum(supported) / len(supported)
    issues = list(faults)
    if covered < _OFF_TOPIC:
        issues.append(Issue.OFF_TOPIC)
    if not all(supported):
        issues.append(Issue.UNSUPPORTED)
    score = SUPPORT * support + COVERAGE * covered + FORM * max(0.0, 1 - _FAULT * len(faults))
    return Verdict(score=min(1.0, score), supported=supported, issues=tuple(issues))


def _is_supported(question: Question, sentence: DraftSentence, found: frozenset[str]) -> bool:
    """It stands in the bytes that it cites, shares content with the question, and does not merely repeat it."""
    wanted = set(question.terms)
    if found <= wanted or (wanted and not _counted(question, sentence, found) & wanted):
        return False
    return any(
        _quotes_exactly(citation) and normalise(sentence.text) in normalise(citation.quote)
        for citation in sentence.citations
    )


def _counted(question: Question, sentence: DraftSentence, own: frozenset[str]) -> frozenset[str]:
    return own.union(*(counted_terms(question, own, citation.record) for citation in sentence.citations))


def _quotes_exactly(citation: Citation) -> bool:
    record = citation.record
    start, end = citation.start_byte - record.start_byte, citation.end_byte - record.start_byte
    return 0 <= start < end and record.text.encode()[start:end] == citation.quote.encode()


def _faults_of_form(intent: Intent, draft: Sequence[DraftSentence], found: Sequence[frozenset[str]]) -> list[Issue]:
    faults = []
    fewest, most = _WORDS[intent]
    words = sum(count_words(sentence.text) for sentence in draft)
    if words < fewest:
        faults.append(Issue.TOO_SHORT)
    if words > most:
        faults.append(Issue.TOO_LONG)
    if any(similarity(a, b) >= _REPETITIVE for a, b in itertools.combinations(found, 2)):
        faults.append(Issue.REPETITIVE)
    if not ends_like_a_statement(draft[-1].text):
        faults.append(Issue.INCOMPLETE)
    return faults
