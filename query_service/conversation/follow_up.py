"""Follow-up questions: what was left out is filled in from the questions before, as far as it takes to search for it.

"And how fast is it?" after "What is batch normalization?" asks "how fast is batch normalization?". Nothing else of the
history gets into the search. Rules, no model: equal histories give equal questions.
"""

import dataclasses
import re
from collections.abc import Sequence

from query_service.topics import AUXILIARY, GENERIC, POLITE, PREPOSITION, RELATIONS, Topic, topic

_FAR = 10  # questions back that a topic may come from
_LONGEST_TOPIC = 200  # characters; what is longer names nothing

_CONNECTIVE = re.compile(r"^(?:(?:and|but|so|also|then|ok|okay|now|well|or|yes|no)\b[\s,]*)+", re.I)
_ABOUT = re.compile(r"^(?:what|how) about\s+", re.I)
_MORE = re.compile(
    rf"^{POLITE}(?:tell me more|(?:say|explain) more|more(?: details?)?|elaborate|go on|continue"
    r"|explain(?: it| this| that)?(?: further| again| (?:in )?more \w+| in (?:more )?\w+(?: \w+)?)?)$",
    re.I,
)
_BARE = re.compile(r"^(?P<wh>why(?: not| is that| so)?|how so|how come|when|where|who|how(?: \w+)?)$", re.I)
_WH = re.compile(rf"^(?:what|which|who|when|where|why|how)\b(?:\s+[\w-]+){{0,5}}?(?=\s+{AUXILIARY}\b)", re.I)
_CONDITION = re.compile(r"^(?:for|in|on|with|without|at|during|under|after|before|by|from|against|among|to)\b", re.I)
_BEGINS_A_QUESTION = re.compile(
    rf"^(?:what|which|who|whose|when|where|why|how|{AUXILIARY}|explain|describe|define|compare|summari[sz]e|give|list|show"
    r"|tell|please|if)\b",
    re.I,
)
_EXPLETIVE = re.compile(
    rf"\b(?:it (?:(?:is|was|be|seems?) )?(?:not )?|{AUXILIARY} it )(?:possible|impossible|necessary|important|known"
    r"|proven|true|likely|unlikely|clear|common|better|best|worth|useful|safe|easy|hard|difficult|that|take to"
    r"|make sense|matter|mean (?:to|for|that)|help to)\b",
    re.I,
)
_PRONOUNS = re.compile(
    rf"\b(?:(?:this|that|these|those|such(?: an?)?|the same) {GENERIC}\b"
    r"|(?:it|they|them)\b|(?:this|these|those)(?!\s+\w)|this(?= (?:is|was|does|can|has|work|help|mean)\b)"
    r"|(?:these|those)(?= (?:are|were|do|can|have|work|help|mean)\b)|that(?=[?.!,;]|$))",
    re.I,
)
# What follows one of these is the topic's: its drawbacks, this layer. "That of" and "this paper" mean something else.
_DETERMINER = re.compile(
    rf"(?:\b(?P<possessive>its|their)|(?:^|\b(?:{AUXILIARY}|about|by|for|from|in|of|on|to|with)\s+)"
    r"(?P<deictic>this|these|those|that))\s+(?=\w)",
    re.I,
)
_NOT_OF_THE_TOPIC = re.compile(
    r"(?:papers?|articles?|reports?|reviews?|stud(?:y|ies)|works?|sections?|collections?|corpus|authors?|time|case|way"
    rf"|(?:{PREPOSITION}|{AUXILIARY}|of)\b)",
    re.I,
)
_FORMER = re.compile(r"\bthe (?:former|first(?: one)?)\b", re.I)
_LATTER = re.compile(r"\bthe (?:latter|second(?: one)?)\b", re.I)
_BOTH = re.compile(
    r"\b(?:both(?: of (?:them|these|those))?|the two|either(?: of (?:them|these|those))?)(?=[?.!,;]|$| (?:of )?\w)",
    re.I,
)
_WHICH = re.compile(
    rf"^which(?: one| of (?:them|these|those|the two))?(?=\s+(?:{AUXILIARY}|works?|performs?|needs?|uses?|\w+s)\b)",
    re.I,
)
_CLAUSE = re.compile(
    r"[,;]\s|\s(?:and|but|or|if|when|once|since|after|before|unless|because|so that|that|which|who|while|although)\s",
    re.I,
)
_WORD = re.compile(r"[\w'’-]+")
_STOP_WORDS = frozenset(
    "a about an and any are be been by can could did do does for from give had has have how in is its key know "
    "list main major me most name of on one or other possible show should some such tell the their there to "
    "typical was were what when where which who why will with would you".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """A question that stands by itself."""

    text: str
    used: tuple[str, ...] = ()
    """The earlier question that it was completed from; empty if it was complete as it was asked."""


def resolve(text: str, earlier: Sequence[str], max_chars: int) -> Resolved:
    """`text` completed from the `earlier` questions of its session, each resolved itself, the last one asked last.

    As it was asked where nothing is missing or nothing can be filled in, or where it would grow beyond `max_chars`.
    """
    for previous in reversed(earlier[-_FAR:]):
        about = topic(previous)
        if about.text and len(about.text) <= _LONGEST_TOPIC:
            completed = _completed(text, previous, about)
            if completed and completed != text and len(completed) <= max_chars:
                return Resolved(text=completed, used=(previous,))
            break
    return Resolved(text=text)


def _completed(text: str, previous: str, about: Topic) -> str | None:
    """The completed question; None if nothing is missing."""
    asked = _CONNECTIVE.sub("", text).rstrip(" ?.!")
    connected = len(asked) < len(text.rstrip(" ?.!"))
    if not asked:
        return None
    if _MORE.match(asked):
        return f"Explain {about.text}"
    if bare := _BARE.match(asked):
        return _ask_again(bare["wh"], previous, about)
    subject = _ABOUT.sub("", asked)
    for rule in (_of_the_pair, _with_pronoun, _with_determiner, _with_relation):
        if completed := rule(subject, about):
            return f"{completed}?"
    if subject != asked or (connected and not _BEGINS_A_QUESTION.match(asked)):
        return _exchanged(subject, previous, about)
    return None


def _ask_again(wh: str, previous: str, about: Topic) -> str:
    """'Why?' after 'How does it work?' is 'Why does it work?'; 'How fast?' is about the topic."""
    question = {"how so": "how", "how come": "why", "why is that": "why", "why so": "why"}.get(wh.lower(), wh)
    if question.lower().startswith("how ") or not (match := _WH.match(previous)):
        return f"{question} is {about.text}?" if " " in question else f"{question}: {previous}"
    return f"{question}{previous[match.end() :]}"


def _exchanged(subject: str, previous: str, about: Topic) -> str:
    """The previous question about something else, or under a condition."""
    body = previous.rstrip(" ?.!")
    if _CONDITION.match(subject):
        return f"{body} {subject}?"
    exchanged = re.sub(rf"(?<!\w){re.escape(about.text)}(?!\w)", lambda _: subject, body, count=1, flags=re.I)
    return f"{exchanged}?" if exchanged != body else f"{subject}?"


def _of_the_pair(asked: str, about: Topic) -> str | None:
    """What refers to one of two things that were compared, or to both."""
    if about.pair is None:
        return None
    first, second = about.pair
    for rule, by in ((_FORMER, first), (_LATTER, second), (_WHICH, f"Which of {about.text}"), (_BOTH, about.text)):
        if match := rule.search(asked):
            return f"{asked[: match.start()]}{by}{asked[match.end() :]}"
    return None


def _with_pronoun(asked: str, about: Topic) -> str | None:
    """The topic in the place of the first pronoun that means it."""
    for match in _PRONOUNS.finditer(asked):
        before, after = asked[: match.start()], asked[match.end() :]
        if match[0].lower() == "it" and _EXPLETIVE.search(asked):
            continue
        return None if _has_antecedent(before) else f"{before}{about.text}{after}"
    return None


def _with_determiner(asked: str, about: Topic) -> str | None:
    """The topic in the place of 'its' or 'this' before a noun."""
    if not (match := _DETERMINER.search(asked)) or _NOT_OF_THE_TOPIC.match(asked, match.end()):
        return None
    start = match.start(match.lastgroup or 0)
    before, after = asked[:start], asked[match.end() :]
    # Where more was named before, it is that which is meant.
    if len(_own_words(before)) > 1 or _has_antecedent(before):
        return None
    return f"{before}{about.text} {after}"


def _has_antecedent(before: str) -> bool:
    """Whether a pronoun behind `before` means something in the question itself: what an earlier clause is about."""
    boundaries = list(_CLAUSE.finditer(before + " "))
    return bool(boundaries and topic(before[: boundaries[-1].start()]).text)


def _with_relation(asked: str, about: Topic) -> str | None:
    """'What are the drawbacks?' asks for those of the topic."""
    words = _WORD.findall(asked.lower())
    if RELATIONS.intersection(words) and not _own_words(asked) and "of" not in words:
        return f"{asked} of {about.text}"
    return None


def _own_words(text: str) -> list[str]:
    """The words by which `text` names something itself."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS and word not in RELATIONS]
