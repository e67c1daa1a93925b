"""The extractive generator: whole sentences of the context, chosen and ordered by rules. Deterministic and offline."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from query_service.evidence import Evidence, Sentence, names_side, similarity, statements
from query_service.generators.base import Assignment, Citation, DraftSentence
from query_service.question import Intent, Question
from rag_papers.retrieval.analysis import terms

_NEAR_DUPLICATE = 0.7  # Jaccard index of terms from which on a sentence says the same again
_REPETITION = 0.3  # what a sentence loses for being wholly like one that is chosen already
_STRICTER = 0.15  # how much nearer to the best a sentence must come in a repair

_COPULA = re.compile(
    r"\b(?:(?:is|was) (?:an?|the|any|one|defined)\b|are\b|were\b|refers? to\b|means?\b|denotes?\b|stands? for\b)"
)
# As in "Dense passage retrieval, or DPR, is" and "Long short-term memory (LSTM) is".
_ASIDE = re.compile(r"\([^()]*\)|, (?:or|also|abbreviated|called|known) [^,]*,")
# Off for each other word in the subject: "Sentence-BERT is a ..." is less about BERT than "BERT is a ...".
_EXTRA_WORD = 0.2
_CONTRAST = re.compile(
    r"\b(?:unlike|compared|whereas|while|than|against|instead|contrast|versus|differs?|differences?|but|only)\b",
    re.IGNORECASE,
)
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


def _defines(question: Question, sentence: Sentence) -> float:
    """1 for 'X is a ...' about just the X that is asked for, less where the subject has more words."""
    copula = _COPULA.search(sentence.text)
    if copula is None or not question.terms:
        return 0.0
    before = sentence.text[: copula.start()]
    subject = _ASIDE.sub("", before)
    # A comma that sets no aside apart opens another clause, whose subject is another one.
    if "," in subject or not set(question.terms).issubset(terms(before)):
        return 0.0
    extra = {term for term in terms(subject) if "-" not in term}.difference(question.terms)
    return max(0.0, 1 - _EXTRA_WORD * len(extra))


def _compares(question: Question, sentence: Sentence) -> float:
    """Half for naming both sides, by half of the words that tell each from the other; half for a word of contrast."""
    if not question.sides or not all(names_side(side, sentence.terms) for side in question.sides):
        return 0.0
    return 1.0 if _CONTRAST.search(sentence.text) else 0.5


def _instructs(question: Question, sentence: Sentence) -> float:
    """1 for 'To do X, ...' and for the imperative."""
    return float(bool(_PURPOSE.match(sentence.text) or _IMPERATIVE.match(sentence.text)))


def _indifferent(question: Question, sentence: Sentence) -> float:
    return 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shape:
    """What an answer of one intent looks like."""

    most: int
    """Sentences at most."""
    keep: float
    """Share of the best sentence's score that each further one must reach."""
    prefer: Callable[[Question, Sentence], float]
    """How well a sentence fits the intent, in [0, 1]."""
    bonus: float
    """What the score of a sentence that fits gains."""
    only_fitting: bool = False
    """Leave out what does not fit at all, unless nothing fits."""
    in_order: bool = False
    """As the passages run, instead of best first."""


# By benchmarks/answers.py: five sentences, each at least 0.6 times as good as the first, hold the answer as often as
# without that bound. To prefer sentences that give reasons made explanations worse.
_SHAPES: Mapping[Intent, _Shape] = {
    Intent.DEFINITION: _Shape(most=5, keep=0.6, prefer=_defines, bonus=0.1),
    Intent.EXPLANATION: _Shape(most=5, keep=0.6, prefer=_indifferent, bonus=0.0),
    Intent.COMPARISON: _Shape(most=5, keep=0.6, prefer=_compares, bonus=0.25, only_fitting=True),
    Intent.HOW_TO: _Shape(most=5, keep=0.6, prefer=_instructs, bonus=0.25, only_fitting=True, in_order=True),
    Intent.SUMMARIZATION: _Shape(most=6, keep=0.4, prefer=_indifferent, bonus=0.0, in_order=True),
    Intent.UNKNOWN: _Shape(most=5, keep=0.6, prefer=_defines, bonus=0.1),
}


class ExtractiveGenerator:
    """Copies the most relevant sentences, shaped by the intent."""

    identity = "extractive-3"

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The best sentences that do not repeat each other, each cited as a whole."""
        question = assignment.question
        shape = _SHAPES[question.intent]
        # A sentence without a word that the question does not have, such as a title, answers nothing.
        telling = [item for item in assignment.evidence if not item.sentence.terms.issubset(question.terms)]
        fit = {item: shape.prefer(question, item.sentence) for item in statements(telling)}
        fitting = [item for item in fit if fit[item]] if shape.only_fitting else []
        score = {item: item.relevance + shape.bonus * fit[item] for item in fitting or fit}
        chosen = _choose(score, shape.most, shape.keep + (_STRICTER if assignment.strict else 0.0))
        if missing := _sides_missing(question, chosen, score):
            chosen = [*chosen[: shape.most - len(missing)], *missing]
        if shape.in_order:
            chosen = _as_passages_run(chosen)
        return [
            DraftSentence(text=item.sentence.text, citations=(Citation.of(item.sentence, item.source),))
            for item in chosen
        ]


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


def _sides_missing(
    question: Question, chosen: Sequence[Evidence], score: Mapping[Evidence, float]
) -> Sequence[Evidence]:
    """The best sentence for each side of a comparison that none of those chosen names, if there is one."""
    missing = [side for side in question.sides if not any(names_side(side, item.sentence.terms) for item in chosen)]
    naming = ([item for item in score if names_side(side, item.sentence.terms)] for side in missing)
    return [max(items, key=score.__getitem__) for items in naming if items]


def _as_passages_run(chosen: Sequence[Evidence]) -> list[Evidence]:
    """The passage of the best sentence first, within each passage as it is written."""
    order = list(dict.fromkeys(item.source for item in chosen))
    return sorted(chosen, key=lambda item: (order.index(item.source), item.sentence.span))
