"""What speaks against a sentence in a text about the same matter: rules, each of which may err, and none a proof."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from query_service.evidence import words
from query_service.verification.directions import Directed
from query_service.verification.facts import (
    DOWN,
    NUMBER_WORDS,
    UNITS,
    UP,
    Quantity,
    compared,
    directions,
    lacks,
    named,
    names,
    negated,
    quantities,
)
from rag_papers.retrieval.analysis import STOP_WORDS, normalise, terms

_CLOSE = 0.6  # share of a sentence's words in the order of the text, from which on the two are taken for one sentence
_NOT = re.compile(r"n['’]t\b")
_COMPARABLE = (
    200_000  # words of the one times words of the other; to compare more takes longer than a tenth of a second
)
_EXCHANGED = 3  # most words that count as one in the place of another
# Function words whose change changes what is said.
_TELLING = STOP_WORDS & frozenset(
    "above after all always any before below both down each few more most no none nor not off on only out over same "
    "some under until up".split()
) | frozenset("always every many never often without".split())
# They report what is said, and say nothing themselves.
_REPORTING = frozenset(
    terms(
        "shows demonstrates suggests indicates finds found reports observes reveals confirms shown seen concludes used"
    )
)


class Clash(StrEnum):
    """A check that a sentence fails; the names are those of the contract's SentenceClash."""

    QUANTITY = "quantity"
    """A number or its unit does not stand there."""
    NAME = "name"
    """A name does not stand there."""
    NEGATION = "negation"
    """One negates what the other asserts."""
    DIRECTION = "direction"
    """One says more, higher or better, the other less, lower or worse; or the sides of "than" are exchanged."""
    WORDING = "wording"
    """A word stands in the place of another one, or two have changed places."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stated:
    """A text and what it states, each part worked out once."""

    text: str
    title: str = ""
    """Of the paper that it stands in."""
    section: str = ""
    """Headings that it stands under."""

    @property
    def above(self) -> str:
        """Title and headings."""
        return f"{self.title}\n{self.section}"

    @functools.cached_property
    def normalised(self) -> str:
        """As `analysis.normalise`."""
        return normalise(self.text)

    @functools.cached_property
    def tokens(self) -> list[str]:
        """Its words, stemmed, hyphenated ones by their parts; numbers and units in one spelling."""
        plain = _NOT.sub(" not", self.text.lower().replace("cannot", "can not"))
        return [token for word in words(plain) for token in _tokens(word)]

    @functools.cached_property
    def terms(self) -> frozenset[str]:
        """Its content words; hyphenated ones by their parts."""
        return frozenset(self.tokens) - STOP_WORDS

    @functools.cached_property
    def terms_with_headings(self) -> frozenset[str]:
        """The same with those of its title and headings, which a text need not repeat."""
        return self.terms.union(terms(self.above), terms(self.text))

    @functools.cached_property
    def quantities(self) -> frozenset[Quantity]:
        """As `facts.quantities`."""
        return quantities(self.text)

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """As `facts.names`."""
        return names(self.text)

    @functools.cached_property
    def named(self) -> frozenset[str]:
        """As `facts.named`."""
        return named(self.text)

    @functools.cached_property
    def named_above(self) -> frozenset[str]:
        """As `facts.named`, of title and headings."""
        return named(self.above)

    @functools.cached_property
    def negated(self) -> frozenset[str]:
        """As `facts.negated`."""
        return negated(self.text)

    @functools.cached_property
    def directions(self) -> tuple[int, int]:
        """As `facts.directions`."""
        return directions(self.text)

    @functools.cached_property
    def directed(self) -> Directed:
        """Which way it says that things go."""
        return Directed(self.text)


def clashes(claim: Stated, text: Stated) -> tuple[Clash, ...]:
    """The checks that `claim` fails against `text`."""
    changed = set(_changed_words(claim, text))
    failed = {
        Clash.QUANTITY: bool(missing_quantities(claim, text)) or Clash.QUANTITY in changed,
        Clash.NAME: bool(missing_names(claim, text)),
        Clash.NEGATION: _negation_differs(claim, text),
        Clash.DIRECTION: _direction_differs(claim, text),
        Clash.WORDING: Clash.WORDING in changed,
    }
    return tuple(clash for clash, fails in failed.items() if fails)


def missing_quantities(claim: Stated, text: Stated) -> list[Quantity]:
    """Those of `claim` that `text` lacks; a unit that is not known fits every other one."""
    return [
        own
        for own in claim.quantities
        if not any(
            own.value == other.value and (own.unit in ("", other.unit) or not other.unit) for other in text.quantities
        )
    ]


def missing_names(claim: Stated, text: Stated) -> list[str]:
    """The names of `claim` that `text` lacks. One of its headings counts only where the text names nothing else."""
    missing = [name for name in claim.names if lacks(name, text.named)]
    if any(lacks(name, claim.named) for name in text.names):
        return missing
    return [name for name in missing if lacks(name, text.named_above)]


def _negation_differs(claim: Stated, text: Stated) -> bool:
    if claim.negated & text.negated:
        return False
    return bool((claim.negated & text.terms) | (text.negated & claim.terms))


def _direction_differs(claim: Stated, text: Stated) -> bool:
    (up, down), (text_up, text_down) = claim.directions, text.directions
    exchanged = _sides_exchanged(claim, text)
    turned = bool((up and not down and text_down and not text_up) or (down and not up and text_up and not text_down))
    # "A is larger than B" and "B is smaller than A" say the same.
    return turned != exchanged


def _sides_exchanged(claim: Stated, text: Stated) -> bool:
    own, other = compared(claim.text), compared(text.text)
    if own is None or other is None:
        return False
    before, after = own[0] - own[1], own[1] - own[0]
    return bool(before & (other[1] - other[0]) and after & (other[0] - other[1]))


def _changed_words(claim: Stated, text: Stated) -> Iterator[Clash]:
    """What stands in the place of something else, where most of `claim` runs as `text` does."""
    a, b = claim.tokens, text.tokens
    if len(a) * len(b) > _COMPARABLE:
        yield Clash.WORDING  # no sentence is so long: that nothing was changed cannot be told
        return
    changes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    same = sum(end - start for tag, start, end, *_ in changes if tag == "equal")
    if not a or same < _CLOSE * len(a):
        return
    present = set(b)
    for tag, start, end, other_start, other_end in changes:
        own, others = _content(a[start:end]), _content(b[other_start:other_end])
        if tag == "replace" and 0 < len(own) <= _EXCHANGED and 0 < len(others) <= _EXCHANGED:
            if _numbers(own) and _numbers(others) and _numbers(own) != _numbers(others):
                yield Clash.QUANTITY
            if not set(own) <= present and not _same_meaning(own, others):
                yield Clash.WORDING
        elif tag != "equal" and not present.issuperset(_TELLING.intersection(own)):
            yield Clash.WORDING
    if _two_changed_places(claim, text):
        yield Clash.WORDING


def _two_changed_places(claim: Stated, text: Stated) -> bool:
    """As in "A inhibits B" and "B inhibits A"; not "B and A" for "A and B", nor a passive, which turns the verb."""
    a, b = claim.tokens, text.tokens
    if ("by" in a) != ("by" in b):
        return False
    shared = {token for token in _content(a) if a.count(token) == b.count(token) == 1}
    own, others = ([token for token in tokens if token in shared] for tokens in (a, b))
    differing = [place for place, pair in enumerate(zip(own, others, strict=True)) if pair[0] != pair[1]]
    return len(differing) == 2 and differing[1] - differing[0] > 1


def _tokens(word: str) -> list[str]:
    if word in NUMBER_WORDS or not any(map(str.isalpha, word)):
        return [str(NUMBER_WORDS.get(word, word))]
    if word in UNITS:
        return [UNITS[word]]
    return [term for term in terms(word) if "-" not in term] or [word]


def _content(tokens: Sequence[str]) -> list[str]:
    return [token for token in tokens if token in _TELLING or (token not in STOP_WORDS and token not in _REPORTING)]


def _numbers(tokens: Sequence[str]) -> list[str]:
    return [token for token in tokens if token.isdecimal()]


def _same_meaning(own: Sequence[str], others: Sequence[str]) -> bool:
    return any(bool(side.intersection(own) and side.intersection(others)) for side in (UP, DOWN))
