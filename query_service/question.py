"""What a question asks: its intent, its content words, the two sides of a comparison. Rules, no model."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from enum import StrEnum

from query_service.topics import topic
from rag_papers.retrieval.analysis import terms


class Intent(StrEnum):
    """What kind of answer is wanted."""

    DEFINITION = "definition"
    EXPLANATION = "explanation"
    COMPARISON = "comparison"
    HOW_TO = "how_to"
    SUMMARIZATION = "summarization"
    UNKNOWN = "unknown"


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_POLITE = _rule(
    r"^(?:(?:please|kindly|can you|could you|would you|tell (?:me|us)|show (?:me|us)|give (?:me|us)"
    r"|i (?:want|would like) to know)\b[\s,]*)+"
)

# The first rule that matches decides: "How do I compare X with Y?" wants instructions, "How does X compare with Y?" a
# comparison. "What is the role of X in Y?" asks for one fact about X and not for what X is.
_RULES: Sequence[tuple[Intent, re.Pattern[str]]] = (
    (
        Intent.HOW_TO,
        _rule(r"^how (?:do|can|could|should|would|must|might) (?:i|we|you|one)\b|^how to\b|^walk (?:me|us)\b"),
    ),
    (Intent.HOW_TO, _rule(r"^how (?:should|must) .+ be \w+")),
    (
        Intent.HOW_TO,
        _rule(r"^(?:step|instruction|guide|tutorial|recipe|protocol)s? (?:for|to)\b|\bstep[- ]by[- ]step\b"),
    ),
    (
        Intent.HOW_TO,
        _rule(
            r"^(?:what|which|is there|are there) .*\b(?:ways?|steps?|procedures?|protocols?|instructions?|recipes?)"
            r" (?:\w+ )?(?:to|for|of \w+ing)\b"
        ),
    ),
    (
        Intent.SUMMARIZATION,
        _rule(
            r"\bsumm?ar(?:y|ies|i[sz]e[sd]?|i[sz]ing)\b|^sum up\b|\boverviews?\b|^tl;?dr\b|^outline\b|\bin a nutshell\b"
            r"|\b(?:main|key|central|major|principal) (?:points?|ideas?|findings?|contributions?|results?|messages?"
            r"|takeaways?|conclusions?|arguments?)\b|\btakeaways?\b|^(?:\w+ )?(?:literature )?review (?:of|on|the)\b"
        ),
    ),
    (
        Intent.SUMMARIZATION,
        _rule(
            r"^what (?:(?:do|did|does) .+ (?:conclude|find|say)\b|conclusions?\b|(?:is|are|was|were) .+ about\W*$"
            r"|(?:is|was) (?:\w+ )?known (?:about|of|on)\b)"
        ),
    ),
    (
        Intent.COMPARISON,
        _rule(
            r"\bdifferences?\b|\bdiffers?\b|\bdifferent from\b|\bcompar(?:e[sd]?|isons?|ing)\b|\bversus\b|\bvs\b"
            r"|\bcontrast\b|\bsimilarit(?:y|ies) between\b|^how similar\b|\bdistinguish(?:es)?\b|\bpros and cons\b"
        ),
    ),
    (
        Intent.COMPARISON,
        _rule(
            r"\b(?:better|worse|more|less|(?!other|rather)\w+er) (?:[\w-]+ ){0,3}?than\b|\b(?:out|under)performs?\b"
            r"|\b(?:dis)?advantages? of .+ (?:over|against)\b|^which .*\b(?:\w+er|more|less|best)\b.*\bor\b"
        ),
    ),
    (Intent.DEFINITION, _rule(r"^define\b|\b(?:definition|meaning) of\b|^what (?:is|are) (?:meant|understood) by\b")),
    (Intent.DEFINITION, _rule(r"^what (?:do|does|did) .+ (?:mean|stand for)\b|^who or what\b|^what .+ (?:is|are)\W*$")),
    (
        Intent.EXPLANATION,
        _rule(
            r"^why\b|^how (?:is|are|was|were|do|does|did|can|could|come)\b|^explain\b|^describe\b"
            r"|^what (?:causes?|caused|makes?|made|leads?|led|explains?|explained|drives?|drove|triggers?|triggered)\b"
            r"|^(?:for )?what (?:(?:is|are|was|were) the )?(?:reasons?|causes?|mechanisms?|explanations?)\b"
        ),
    ),
    (
        Intent.DEFINITION,
        _rule(
            r"^what(?:['’]s| is| are| was| were| exactly (?:is|are)) (?:exactly )?"
            r"(?!(?:the|its|their) [\w\s-]+ (?:of|in|on|at|for|from|with|between|behind|that)\b)"
        ),
    ),
)


def detect(text: str) -> Intent:
    """The intent of a question; unknown, for example, for a bare noun phrase."""
    text = _POLITE.sub("", text)
    return next((intent for intent, rule in _RULES if rule.search(text)), Intent.UNKNOWN)


# Words that say what kind of answer is wanted and nothing about its subject.
_FORM = _rule(
    r"\b(?:differences?|differs?|compar(?:e[sd]?|isons?|ing)|contrast|versus|vs|explain|describe|summar(?:y|i[sz]e[sd]?)"
    r"|overview|define|definition|meaning|please|tell|show|give|papers?|articles?)\b"
    r"|(?:是)?什么|为什么|怎么|如何|とは|何ですか"
    r"|\b(?:mean|stand for|works?)\W*$|\b(?:mean|meant) by\b|\bhow (?:long|often|far|large|big|old|fast|high)\b"
)

_YES_NO = _rule(r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|might|must)\b")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question and what it asks."""

    text: str
    """Normalised."""
    intent: Intent

    @functools.cached_property
    def terms(self) -> tuple[str, ...]:
        """Its content words as terms, each once; without the words of form, unless it has no others."""
        return _content(_FORM.sub(" ", self.text)) or _content(self.text)

    @property
    def is_yes_no(self) -> bool:
        """Whether yes or no would answer it."""
        return bool(_YES_NO.match(self.text))

    @functools.cached_property
    def compared(self) -> tuple[str, ...]:
        """The two things to be compared, in the words of the question; empty if it does not name them."""
        return topic(self.text).pair or ()

    @functools.cached_property
    def sides(self) -> tuple[frozenset[str], ...]:
        """The terms that tell the two things of a comparison apart, two sets; empty if they cannot be told."""
        if self.intent is not Intent.COMPARISON:
            return ()
        both = [frozenset(_content(thing)) for thing in self.compared]
        sides = tuple(own - other for own, other in zip(both, reversed(both), strict=True))
        return sides if all(sides) else ()


def _content(text: str) -> tuple[str, ...]:
    # A hyphenated word counts by its parts, which also match where it is spelled apart.
    return tuple(term for term in dict.fromkeys(terms(text)) if "-" not in term)
