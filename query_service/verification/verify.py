"""Verification: whether an answer is supported, covers the question and has the form that its intent asks for."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from enum import StrEnum

from query_service.evidence import (
    Coverage,
    Sentence,
    count_words,
    counted_terms,
    ends_like_a_statement,
    sentences_of,
    similarity,
)
from query_service.generators.base import Citation, DraftSentence
from query_service.question import Intent, Question
from query_service.stop import Stop
from query_service.verification.clashes import Clash
from query_service.verification.facts import negations
from query_service.verification.reading import declines, draft, has_marks, without_marks
from query_service.verification.support import NOTHING, Context, Entailment, Idf, Support, Vectors
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.analysis import normalise, terms

SUPPORT, COVERAGE, FORM = 0.4, 0.4, 0.2
"""Weights of the parts of the score; each part is in [0, 1]."""

_PARTLY_SUPPORTED = 0.25  # an answer with one unsupported sentence is not accepted by default, whatever the rest
_PARAPHRASED = 0.75  # least support of a sentence that passes all checks without being copied
_OFF_TOPIC = 0.3  # coverage below which an answer is about something else
_FAULT = 0.5  # what each fault of form takes from that part
_REPETITIVE = 0.8  # Jaccard index of two sentences' terms

_WORDS: Mapping[Intent, tuple[int, int]] = {
    Intent.DEFINITION: (5, 250),
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
    CONTRADICTED = "contradicted"
    POSSIBLY_CONTRADICTED = "possibly_contradicted"
    ECHO = "echo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """What the verifier thinks of one sentence."""

    supported: bool
    support: float
    """In [0, 1], for putting sentences in order; see `Support.score`."""
    agreement: float
    """In [0, 1]; see `Support.agreement`."""
    clashes: tuple[Clash, ...]
    """Checks that failed."""
    citations: tuple[Citation, ...]
    """The bytes that support it; if it is not supported, those that come nearest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier thinks of an answer."""

    score: float
    """In [0, 1]: 0.4 support + 0.4 coverage + 0.2 form; 0 for no answer."""
    sentences: tuple[Judged, ...] = ()
    issues: tuple[Issue, ...] = ()
    declines: bool = False
    """The answer says that the papers do not answer the question: an abstention, whose score is 0."""

    @property
    def supported(self) -> tuple[bool, ...]:
        """For each sentence."""
        return tuple(judged.supported for judged in self.sentences)


def verify_text(
    question: Question,
    answer: str,
    passages: Sequence[PassageRecord],
    *,
    idf: Idf = lambda term: 0.0,
    vectors: Vectors | None = None,
    entailment: Entailment | None = None,
    stop: Stop | None = None,
) -> tuple[list[DraftSentence], Verdict]:
    """Judges an answer given as text, whoever wrote it, against passages; the Verify call is made of this.

    Marks in the answer, as [2], cite the passages by their place, from 1. Returns its sentences, and a judgement
    of each in the verdict, but where the answer declines. Raises DeadlineExceeded when `stop` says so.
    """
    sources = {number: sentences_of(record) for number, record in enumerate(passages, 1)}
    sentences = draft(answer, sources)
    context = Context(sources, idf, vectors, entailment, stop)
    verdict = verify(question, Coverage(question.terms, idf), sentences, context)
    return sentences, verdict


def verify(question: Question, coverage: Coverage, draft: Sequence[DraftSentence], context: Context) -> Verdict:
    """Judges an answer by the bytes of its context.

    A sentence is held against what it cites, or, where it cites nothing, against the whole context. Support: the
    mean of its sentences' if each is supported (1 for a copied one, 0.75 to 1 for another), else a quarter of the mean,
    with 0 for those that are not. Coverage: of the question's content words by the supported sentences and the bytes
    that support them. Form: 1, less a half for each fault.
    """
    if not draft:
        return Verdict(score=0.0, issues=(Issue.TOO_SHORT,))
    texts = [without_marks(sentence.text) for sentence in draft]
    found = [frozenset(term for term in terms(text) if "-" not in term) for text in texts]
    echoes = [_echoes(question, text, its) for text, its in zip(texts, found, strict=True)]
    supports = [_support(sentence, text, context) for sentence, text in zip(draft, texts, strict=True)]
    if declines(" ".join(texts)) and not supports[0].supported:  # a paper may say so of others
        return Verdict(score=0.0, declines=True)
    judged = tuple(
        _judged(sentence, support, supported=support.supported and not echo)
        for sentence, support, echo in zip(draft, supports, echoes, strict=True)
    )
    supported = [each.supported for each in judged]
    taken_up = [_taken_up(question, its, support) for its, support in zip(found, supports, strict=True)]
    covered = coverage.of(frozenset[str]().union(*itertools.compress(taken_up, supported)))
    faults = _faults_of_form(question.intent, texts, found)
    about = {
        Issue.OFF_TOPIC: covered < _OFF_TOPIC,
        Issue.UNSUPPORTED: not all(supported),
        Issue.CONTRADICTED: any(support.contradicted for support in supports),
        Issue.POSSIBLY_CONTRADICTED: any(each.clashes for each in judged if not each.supported),
        Issue.ECHO: any(echoes),
    }
    issues = (*faults, *(issue for issue, there in about.items() if there))
    score = SUPPORT * _part_of_support(judged) + COVERAGE * covered + FORM * max(0.0, 1 - _FAULT * len(faults))
    return Verdict(score=min(1.0, score), sentences=judged, issues=issues)


def _echoes(question: Question, text: str, found: frozenset[str]) -> bool:
    """Whether a sentence says no more than the question does; "A does B" answers "Does A do B?"."""
    if not question.terms or not found <= set(terms(question.text)):
        return False
    asks = text.rstrip().endswith("?") or normalise(text).rstrip(".?! ") == question.text.rstrip(".?! ")
    return asks or not (question.is_yes_no or negations(text) > negations(question.text))


def _support(sentence: DraftSentence, text: str, context: Context) -> Support:
    if not sentence.citations and has_marks(sentence.text):
        return NOTHING  # it cites what is not there
    if not sentence.citations:
        return context.support(text)
    exact = [citation for citation in sentence.citations if _quotes_exactly(citation)]
    return context.support(text, among=lambda quoted: any(_cites(citation, quoted) for citation in exact))


def _judged(sentence: DraftSentence, support: Support, *, supported: bool) -> Judged:
    citations = tuple(Citation.of(quoted, support.source) for quoted in support.stretch)
    return Judged(
        supported=supported,
        support=support.score,
        agreement=support.agreement,
        clashes=() if supported else support.clashes,
        citations=citations or sentence.citations,
    )


def _part_of_support(judged: Sequence[Judged]) -> float:
    of_each = [_PARAPHRASED + (1 - _PARAPHRASED) * each.support if each.supported else 0.0 for each in judged]
    return sum(of_each) / len(of_each) * (1.0 if all(of_each) else _PARTLY_SUPPORTED)


def _taken_up(question: Question, own: frozenset[str], support: Support) -> frozenset[str]:
    return own.union(*(counted_terms(question, quoted.terms, quoted.record) for quoted in support.stretch))


def _quotes_exactly(citation: Citation) -> bool:
    record = citation.record
    start, end = citation.start_byte - record.start_byte, citation.end_byte - record.start_byte
    return 0 <= start < end and record.text.encode()[start:end] == citation.quote.encode()


def _cites(citation: Citation, sentence: Sentence) -> bool:
    return (
        citation.record.passage_id == sentence.record.passage_id
        and citation.start_byte <= sentence.start_byte
        and sentence.end_byte <= citation.end_byte
    )


def _faults_of_form(intent: Intent, texts: Sequence[str], found: Sequence[frozenset[str]]) -> list[Issue]:
    faults = []
    fewest, most = _WORDS[intent]
    words = sum(map(count_words, texts))
    if words < fewest:
        faults.append(Issue.TOO_SHORT)
    if words > most:
        faults.append(Issue.TOO_LONG)
    if any(similarity(a, b) >= _REPETITIVE for a, b in itertools.combinations(found, 2)):
        faults.append(Issue.REPETITIVE)
    if not ends_like_a_statement(texts[-1]):
        faults.append(Issue.INCOMPLETE)
    return faults
