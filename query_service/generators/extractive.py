"""The extractive generator: whole sentences of the context, chosen and ordered by rules. Deterministic and offline."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from query_service.evidence import Evidence, Sentence, similarity, statements
from query_service.generators.base import Assignment, Citation, DraftSentence
from query_service.question import Intent, Question
from rag_papers.retrieval.analysis import terms

_NEAR_DUPLICATE = 0.7  # Jaccard index of terms from which on a sentence says the same again
_REPETITION = 0.3  # what a sentence loses for being wholly like one that is chosen already
_STRICTER = 0.15  # how much nearer to the best a sentence must come in a repair

_COPULA = re.compile(r"\b(?:is|are|was|were|refers? to|means?|denotes?|stands? for)\b")
_SUBJECT_EXTRA = 3  # "Dense passage retrieval, or DPR, is ..." and "The name BERT stands for ..." define as well
_PURPOSE = re.compile(r"(?:in order to|to|for|when|before|after) [^,.;]+,", re.IGNORECASE)
_IMPERATIVE = re.compile(
    r"(?:(?:first|then|next|finally|also|always|never),? )?(?:add|adjust|apply|assign|avoid|begin|bound|build|check"
    r"|choose|clean|collect|combine|compare|compute|configure|count|create|cut|define|divide|download|drop|encode"
    r"|ensure|evaluate|find|fine-tune|fit|freeze|give|initiali[sz]e|insert|install|keep|label|leave|load|make|mask"
    r"|measure|merge|mix|multiply|normali[sz]e|pack|pick|place|prepare|put|raise|rank|read|reduce|remove|repeat"
    r"|replace|reweight|rinse|run|sample|save|scale|score|search|select|set|shuffle|skip|sort|split|start|stop|store"
    r"|sum|take|test|train|try|tune|update|use|wash|weight|write)\b",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|since|so that|therefore|thus|hence|due to|owing to|which means|as a result|leads? to|causes?"
    r"|by \w+ing)\b",
    re.IGNORECASE,
)


def _defines(question: Question, sentence: Sentence) -> bool:
    """'X is ...' about just the X that is asked for."""
    copula = _COPULA.search(sentence.text)
    if copula is None or not question.terms:
        return False
    subject = set(terms(sentence.text[: copula.start()]))
    return subject.issuperset(question.terms) and len(subject) <= len(question.terms) + _SUBJECT_EXTRA


def _names_both(question: Question, sentence: Sentence) -> bool:
    """Both sides of the comparison occur: half of the words that tell each from the other."""
    return bool(question.sides) and all(2 * len(side & sentence.terms) >= len(side) for side in question.sides)


def _instructs(question: Question, sentence: Sentence) -> bool:
    """'To do X, ...' or a sentence in the imperative."""
    return bool(_PURPOSE.match(sentence.text) or _IMPERATIVE.match(sentence.text))


def _gives_a_reason(question: Question, sentence: Sentence) -> bool:
    return bool(_REASON.search(sentence.text))


def _never(question: Question, sentence: Sentence) -> bool:
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shape:
    """What an answer of one intent looks like."""

    most: int
    """Sentences at most."""
    keep: float
    """Share of the best sentence's score that each further one must reach."""
    prefer: Callable[[Question, Sentence], bool]
    bonus: float
    """What a preferred sentence's score gains."""
    in_order: bool = False
    """In reading order instead of best first."""


_SHAPES: Mapping[Intent, _Shape] = {
    Intent.DEFINITION: _Shape(most=3, keep=0.8, prefer=_defines, bonus=0.25),
    Intent.EXPLANATION: _Shape(most=4, keep=0.7, prefer=_gives_a_reason, bonus=0.1),
    Intent.COMPARISON: _Shape(most=4, keep=0.7, prefer=_names_both, bonus=0.25),
    Intent.HOW_TO: _Shape(most=4, keep=0.6, prefer=_instructs, bonus=0.25, in_order=True),
    Intent.SUMMARIZATION: _Shape(most=6, keep=0.4, prefer=_never, bonus=0.0, in_order=True),
    Intent.UNKNOWN: _Shape(most=3, keep=0.8, prefer=_defines, bonus=0.25),
}


class ExtractiveGenerator:
    """Copies the most relevant sentences, shaped by the intent."""

    identity = "extractive-1"

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The best sentences that do not repeat each other, each cited as a whole."""
        question = assignment.question
        shape = _SHAPES[question.intent]
        # A sentence without a word that the question does not have, such as a title, answers nothing.
        telling = [item for item in assignment.evidence if not item.sentence.terms.issubset(question.terms)]
        score = {item: _score(question, shape, item) for item in statements(telling)}
        chosen = _choose(score, shape.most, shape.keep + (_STRICTER if assignment.strict else 0.0))
        if shape.in_order:
            chosen.sort(key=lambda item: (item.source, item.sentence.span))
        return [
            DraftSentence(text=item.sentence.text, citations=(Citation.of(item.sentence, item.source),))
            for item in chosen
        ]


def _score(question: Question, shape: _Shape, item: Evidence) -> float:
    return item.relevance + (shape.bonus if shape.prefer(question, item.sentence) else 0.0)


def _choose(score: Mapping[Evidence, float], most: int, keep: float) -> list[Evidence]:
    """At most `most` of the best, each at least `keep` times as good as the first and unlike those before it.

    (Greedy maximal marginal relevance: Carbonell & Goldstein, "The Use of MMR", 1998.)
    """
    chosen: list[Evidence] = []
    left = dict(score)
    while left and len(chosen) < most:
        likeness = {
            item: max((similarity(item.sentence.terms, other.sentence.terms) for other in chosen), default=0.0)
            for item in left
        }
        # The first of equals in reading order, so that the choice is the same everywhere.
        best = max(left, key=lambda item: left[item] - _REPETITION * likeness[item])
        if chosen and left[best] - _REPETITION * likeness[best] < keep * score[chosen[0]]:
            break
        value = likeness[best]
        del left[best]
        if value < _NEAR_DUPLICATE:
            chosen.append(best)
    return chosen
