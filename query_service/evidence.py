"""Evidence: sentences of passages, and how much they have to do with a question."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from query_service.question import Intent, Question
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.fusion import Candidate
from rag_papers.retrieval.sentences import Span, sentences

_T = TypeVar("_T")

_COSINE, _COVERAGE, _BEFORE, _PASSAGE = 0.27, 0.18, 0.12, 0.43  # by benchmarks/answers.py

# What a sentence may carry in front that is not part of it: Markdown headings on lines of their own, a list mark.
_LEAD = re.compile(r"(?:#{1,6}[ \t][^\n]*(?:\n\s*|$))*(?:(?:[-*+•‣]|\d{1,3}\))[ \t]+)?")
_LINE_BREAK = re.compile(r"(?:(?<!\s)[^\S\r\n]++)?[\r\n]\s*")  # possessive: runs of blanks may be very long
_END_MARKS = frozenset(".!…。！｡।۔")
_CLOSERS = "\"'”’»)]」』）*_"
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’.-][^\W_]+)*")
_BEGINS_WITHIN = re.compile(r"[a-z]+(?![\w-])")  # unlike "p53 is" and "mRNA is", which begin sentences
_MIN_WORDS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence of a passage as it can be quoted."""

    record: PassageRecord
    span: Span
    """Where it lies in the passage, characters."""
    before: "Sentence | None" = dataclasses.field(default=None, compare=False, repr=False)
    """The one before it in the passage, which often names what it speaks of."""

    @property
    def quote(self) -> str:
        """Its characters, exactly as in the passage."""
        return self.record.text[self.span.start : self.span.end]

    @functools.cached_property
    def text(self) -> str:
        """The quote on one line; nothing else is changed."""
        return _LINE_BREAK.sub(" ", self.quote)

    @functools.cached_property
    def terms(self) -> frozenset[str]:
        """Its terms."""
        return frozenset(terms(self.quote))

    @functools.cached_property
    def start_byte(self) -> int:
        """Where it starts in the document's extracted text, bytes."""
        return self.record.start_byte + len(self.record.text[: self.span.start].encode())

    @property
    def end_byte(self) -> int:
        """Where it ends there, exclusive."""
        return self.start_byte + len(self.quote.encode())

    @property
    def is_statement(self) -> bool:
        """Whether it reads like a statement: no heading, no line of names, no question, no rest of a sentence."""
        # Where a whole passage is in lower case, as in some collections, sentences begin so too.
        rest = _BEGINS_WITHIN.match(self.quote) and not self.record.text.islower()
        return not rest and ends_like_a_statement(self.quote) and count_words(self.quote) >= _MIN_WORDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankedPassage:
    """A retrieved passage and what is left of its sentences."""

    candidate: Candidate
    record: PassageRecord
    score: float
    """In [0, 1]; orders the passages of one question."""
    sentences: tuple[Sentence, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """A sentence of the context, and how much it has to do with the question."""

    sentence: Sentence
    source: int
    """Rank of its passage among the sources, from 1."""
    passage_score: float
    """Of the fused ranking, in [0, 1]."""
    coverage: float
    """Share of the question's content words, weighted by rarity, that occur in it, its title or headings, in [0, 1]."""
    coverage_before: float
    """The same in it and the sentence before it."""
    cosine: float | None
    """Of its vector and the question's; None if no vectors are used."""

    @property
    def relevance(self) -> float:
        """Orders the sentences of one question."""
        return (
            _COSINE * (self.cosine or 0.0)
            + _COVERAGE * self.coverage
            + _BEFORE * self.coverage_before
            + _PASSAGE * self.passage_score
        )

    @property
    def strength(self) -> float:
        """How well an answer may rest on it, in [0, 1]: the geometric mean of cosine, coverage and passage score.

        All three must be there. Each is bounded and looks at no other passage, so that a value means the same for every
        question. Without vectors 1 stands in for the cosine.
        """
        cosine = 1.0 if self.cosine is None else min(1.0, max(0.0, self.cosine))
        return float((cosine * self.coverage * self.passage_score) ** (1 / 3))


class Coverage:
    """How much of a question a text takes up."""

    def __init__(self, wanted: Sequence[str], idf: Callable[[str], float]) -> None:
        """`wanted` are the question's content words as terms, `idf` says how rare a term is."""
        # The 1 keeps a word that this collection lacks from outweighing all others where the collection is small.
        self._weights = {term: 1 + idf(term) for term in wanted}
        self._total = sum(self._weights.values())

    def of(self, found: Collection[str]) -> float:
        """Share of the question's words that are among the terms `found`, weighted by rarity, in [0, 1]."""
        if not self._total:
            return 0.0
        return sum(weight for term, weight in self._weights.items() if term in found) / self._total

    def overlap(self, found: Collection[str]) -> int:
        """How many of the question's words are among the terms `found`."""
        return sum(term in found for term in self._weights)


def sentences_of(record: PassageRecord) -> tuple[Sentence, ...]:
    """The sentences of a passage in order, without headings and list marks."""
    found: list[Sentence] = []
    for span in sentences(record.text):
        lead = _LEAD.match(record.text, span.start, span.end)
        start = lead.end() if lead else span.start
        if start < span.end:
            before = found[-1] if found else None
            found.append(Sentence(record=record, span=Span(start, span.end), before=before))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def heading_terms(title: str, section: str) -> frozenset[str]:
    """The terms of a passage's title and headings."""
    return frozenset(terms(f"{title}\n{section}"))


def counted_terms(question: Question, own: frozenset[str], record: PassageRecord) -> frozenset[str]:
    """The terms by which a sentence with the terms `own`, of a passage, is measured against a question.

    A summary is asked for by naming its subject, often by the title of a paper, which its sentences need not repeat.
    """
    if question.intent is Intent.SUMMARIZATION:
        return own | heading_terms(record.title, record.section)
    return own


def names_side(side: frozenset[str], found: frozenset[str]) -> bool:
    """Whether the terms `found` name a side of a comparison: hold at least half of the words that tell it."""
    return 2 * len(side & found) >= len(side)


def sides_first(
    question: Question, items: Sequence[_T], found: Callable[[_T], frozenset[str]], most: int
) -> Sequence[_T]:
    """`items`, best first, with the first `most` in front that name each side of a comparison by their terms `found`.

    What is best for both sides together may all be about one of them. As they are for another question.
    """
    front = {
        place
        for side in question.sides
        for place in itertools.islice((n for n, item in enumerate(items) if names_side(side, found(item))), most)
    }
    return [items[place] for place in sorted(range(len(items)), key=lambda place: (place not in front, place))]


def by_source(evidence: Iterable[Evidence]) -> dict[int, list[Sentence]]:
    """The sentences of each source, by its rank, in the order given."""
    sources: dict[int, list[Sentence]] = {}
    for item in evidence:
        sources.setdefault(item.source, []).append(item.sentence)
    return sources


def statements(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Those that read like statements, or all where none does."""
    everything = list(evidence)
    return [item for item in everything if item.sentence.is_statement] or everything


def ends_like_a_statement(text: str) -> bool:
    """Whether the last mark of `text` closes a statement."""
    return text.rstrip().rstrip(_CLOSERS)[-1:] in _END_MARKS


def words(text: str) -> list[str]:
    """The words of `text` in order; a Chinese, Japanese or Korean character counts as one."""
    return _WORD.findall(text)


def count_words(text: str) -> int:
    """How many `words` there are in `text`."""
    return sum(1 for _ in _WORD.finditer(text))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard index of two sets of terms, in [0, 1]; 0 for two empty ones."""
    return len(a & b) / len(a | b) if a or b else 0.0
