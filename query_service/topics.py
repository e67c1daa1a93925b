"""What a question is about, in its own words. Rules, no model: it has to be named well enough to search for it."""

import dataclasses
import re

POLITE = r"(?:(?:please|kindly|can you|could you|would you)\b[\s,]*)*"
AUXILIARY = (
    r"(?:is|are|was|were|do|does|did|can|could|should|would|will|shall|may|might|must|has|have|had)(?:n['’]t| not)?"
)
GENERIC = (
    r"(?:methods?|approach(?:es)?|techniques?|models?|algorithms?|procedures?|ideas?|things?|concepts?|systems?|tools?"
    r"|processe?s?|strateg(?:y|ies)|architectures?|treatments?|drugs?|ones?)"
)
"""Nouns that stand for whatever the talk is about."""
RELATIONS = frozenset(
    "advantage advantages alternative alternatives application applications assumption assumptions author authors "
    "background basis benefit benefits cause causes challenge challenges complexity consequence consequences cost "
    "costs definition detail details difference differences disadvantage disadvantages downside downsides "
    "drawback drawbacks effect effects evidence example examples finding findings formula goal goals history idea "
    "impact implication implications intuition limit limitation limitations limits mechanism mechanisms "
    "motivation origin outcome outcomes performance problem problems pros cons purpose reason reasons requirement "
    "requirements result results risk risks role side steps step strength strengths symptom symptoms trade-off "
    "trade-offs tradeoff tradeoffs treatment type types use uses usage variant variants weakness weaknesses".split()
)
"""Nouns that are always those of something: the drawbacks of it, its cost."""

PREPOSITION = (
    r"(?:about|across|after|against|among|as|at|because|before|behind|beyond|by|compared|during|for|from|if|in|inside|into"
    r"|like|on|onto|over|rather|since|so|than|that|through|to|toward|towards|under|until|upon|via|when|where|whether|which"
    r"|while|who|whose|with|within|without)"
)
_VERB = (
    r"(?:achieve|act|add|adapt|affect|aid|allow|answer|apply|avoid|base|become|behave|bind|block|bring|call|cause|change"
    r"|choose|combine|come|compare|compute|contain|contribute|control|cost|cover|create|deal|decrease|define|depend|detect"
    r"|develop|differ|divide|do|drive|encode|enable|ensure|estimate|evaluate|evolve|explain|express|extend|fail|find|fit"
    r"|fix|follow|generali[sz]e|generate|get|give|grow|handle|happen|harm|help|hurt|improve|include|increase|induce"
    r"|infect|influence|inhibit|interact|involve|keep|know|lead|learn|let|limit|look|lose|lower|make|matter|mean|measure"
    r"|mitigate|need|normali[sz]e|occur|outperform|perform|predict|prevent|process|produce|promote|protect|prove|provide"
    r"|raise|reach|reduce|regulate|regulari[sz]e|relate|rely|remain|remove|replace|represent|require|resist|restrict|scale"
    r"|select|share|show|slow|solve|speed|spread|stand|start|stop|suffer|suggest|support|survive|take|test|train|transmit"
    r"|treat|trigger|try|understand|update|use|vary|work|yield)"
)
_BREAK = re.compile(
    rf"(?<=\S)(?:\s+(?:{PREPOSITION}|{AUXILIARY}|{_VERB}(?:s|es|d|ed)?)\b|\s*[,;:(?!]|\.(?:\s|$)).*", re.I | re.S
)
_PREDICATE = re.compile(
    r"(?<=\S)\s+(?:\w+(?:ive|ful|able|ible|ous|ed|ly)|(?:so|very|too|more|most|less|that|such|known|chosen|shown|given|made"
    r"|done|found|built|good|bad|best|worst|better|worse|fast|faster|slow|slower|hard|harder|easy|easier|difficult"
    r"|important|necessary|different|similar|large|larger|small|smaller|high|higher|low|lower|big|popular|common|efficient"
    r"|accurate|robust|stable|safe|dangerous|cheap|cheaper|simple|simpler|true))$",
    re.I,
)
_ARTICLE = r"(?:the|an?|any|some|all|both)\s+"
_RELATION = (
    rf"(?:{'|'.join(sorted(RELATIONS))}|meaning|importance|influence|kinds?|number|notion|term|overview|summary|connection"
    r"|relationship|papers?|articles?|stud(?:y|ies)|work|research|literature)"
)
_RELATION_OF = re.compile(
    rf"(?:{_ARTICLE})?(?:(?:[\w-]+\s+)?{_RELATION}\s+of|{_RELATION}\s+(?:in|on|for|behind|to|from|with|about))\s+", re.I
)
_LEADS = (
    re.compile(
        rf"^{POLITE}(?:tell me|explain|describe|define|summari[sz]e|discuss|show|list|give)\b(?: me)?(?: about)?\s+",
        re.I,
    ),
    re.compile(r"^how to\s+[\w-]+\s+", re.I),
    # "Which drugs are used": the subject stands before the auxiliary.
    re.compile(
        rf"^(?:what|which)\s+(?=[\w-]+(?:\s+[\w-]+){{0,4}}?\s+{AUXILIARY}\s+(?:be|been|not|\w+ed|used|known|shown)\b)",
        re.I,
    ),
    # "How many units does dropout remove": it stands behind it.
    re.compile(rf"^(?:what|which|who|whom|whose|when|where|why|how)\b(?:\s+[\w-]+){{0,5}}?\s+{AUXILIARY}\s+", re.I),
    re.compile(r"^(?:what|who|where|how|why|when)['’]s\s+", re.I),
    re.compile(rf"^{AUXILIARY}\s+", re.I),
    # "Who invented word2vec", "What causes scurvy": what is asked about is the object.
    re.compile(rf"^(?:who|what)\s+(?:\w+ed|{_VERB}(?:s|es)?)\s+", re.I),
    re.compile(r"^(?:what|which|who|whose|when|where|why|how)\s+", re.I),
)
_SUBJECT_IS_NOBODY = re.compile(r"^(?:i|we|you|one|there)\s+(?:[\w-]+\s+)?", re.I)
_NOTHING = re.compile(rf"(?:be|been|it|its|they|them|this|that|these|those|he|she|there|{GENERIC}$)(?!\w)", re.I)
_MARKS = " ?.!,;:\"'“”"
_THING = r"(?:\w[\w'’/+.-]*)(?:\s+\w[\w'’/+.-]*){0,5}?"
_END = rf"(?=\s+{PREPOSITION}\b|[?.!,;]|$)"
_PAIRS = (
    re.compile(rf"\bbetween (?:the )?(?P<a>{_THING}) and (?:the )?(?P<b>{_THING}){_END}", re.I),
    re.compile(
        rf"\bcompare (?:the )?(?P<a>{_THING}) (?:with|to|and|against) (?:the )?(?P<b>{_THING}){_END}",
        re.I,
    ),
    re.compile(
        rf"(?:^(?!{AUXILIARY}\b|what|which|how|why)|\b{AUXILIARY}\s+)(?P<a>{_THING})\s+(?:versus|vs\.?"
        rf"|(?:compared?|differs?|different|better|worse|\w+er) (?:with|to|from|than))\s+(?P<b>{_THING}){_END}",
        re.I,
    ),
    re.compile(rf"^how (?:do|does|did|are|is) (?P<a>{_THING}) and (?P<b>{_THING}) (?:compare|differ|related)\b", re.I),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topic:
    """What a question is about."""

    text: str
    """In the words of the question; empty if it is about nothing that could be told."""
    pair: tuple[str, str] | None = None
    """Its two sides, if it compares some."""


def topic(question: str) -> Topic:
    """The topic of a question that stands by itself."""
    for rule in _PAIRS:
        if match := rule.search(question):
            a, b = _bare(match["a"]), _bare(match["b"])
            return Topic(text=f"{a} and {b}", pair=(a, b))
    rest = question.strip()
    for rule in _LEADS:
        if match := rule.match(rest):
            rest = rest[match.end() :]
            break
    rest = _bare(_SUBJECT_IS_NOBODY.sub("", rest))
    while match := _RELATION_OF.match(rest):
        rest = _bare(rest[match.end() :])
    subject = _BREAK.sub("", rest).strip(_MARKS)
    while (shorter := _PREDICATE.sub("", subject)) != subject:
        subject = shorter
    return Topic(text="" if _NOTHING.match(subject) else subject)


def _bare(phrase: str) -> str:
    return re.sub(rf"^(?:{_ARTICLE})+", "", phrase.strip(), flags=re.I)
