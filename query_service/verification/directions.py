"""Which way a sentence says that things go, and whether a text says so of the same things. Rules for English.

They cannot tell a contradiction; over many sentences those that agree have more to be said for them.
"""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from query_service.verification.facts import DOWN, SCOPE_ENDS, UP
from rag_papers.retrieval.analysis import terms

_RAISING = {"most", *UP} | frozenset(
    terms(
        "elevated high augments amplifies boosts potentiates overexpression accumulates extends advances superior "
        "restores rescues mediates causes drives leads triggers contributes sustains supports enables confers allows "
        "favors favours exacerbates aggravates necessary essential required requires crucial critical important "
        "effective efficacious beneficial susceptible sensitive abundant frequent common majority positively "
        "induction"
    )
)
_LOWERING = {"less", "least", *DOWN} | frozenset(
    terms(
        "low abolishes abrogates ameliorates alleviates protects disrupts depletes deficient deficiency knockdown "
        "knockout ablation deletion silencing dampens blunts inferior limits mitigates antagonizes delays resistant "
        "resistance insensitive unnecessary independent ineffective rare minority reverses eliminates restricts "
        "represses counteracts inactivates negatively loss reduction"
    )
)
_NEGATING = frozenset(
    "absence absent cannot dispensable fail failed failing fails hardly lack lacked lacking lacks little neither never "
    "no non none nonsignificant nor not rarely unable unaffected unchanged unlikely unrelated without".split()
)
_TOKEN = re.compile(rf"{SCOPE_ENDS.pattern}|(?P<word>[^\W_]+(?:['’.][^\W_]+)*)", re.IGNORECASE)
_NOT = re.compile(r"n['’]t\b")
_TURNED = 5  # words after a negation among which it turns the first that has a direction
_THINGS = 5  # content words nearest to one with a direction that it is taken to be about
_REACH = 6  # words from such a thing, within the text, to what is said of it
_HALF = 2.0  # words of distance that take half of the weight


class _Word(NamedTuple):
    term: str
    """Empty for a function word."""
    negates: bool
    direction: int
    """1: more, higher, it is caused; -1: less, lower, it is prevented; 0: none."""


class Directed:
    """A sentence by the directions that it speaks of."""

    def __init__(self, text: str) -> None:
        self._words: list[_Word] = []
        clause, ends = 0, []
        for match in _TOKEN.finditer(_NOT.sub(" not", text)):
            if match["word"]:
                self._words.append(_word(match["word"]))
                ends.append(clause)
            else:
                clause += 1
        self._directions = _turned(self._words, ends)

    @property
    def negates(self) -> bool:
        """Whether anything is negated."""
        return any(word.negates for word in self._words)

    @property
    def lowers(self) -> bool:
        """Whether anything goes down."""
        return any(word.direction < 0 for word in self._words)

    @property
    def parity(self) -> int:
        """1 if an even number of its words negate or go down, else -1."""
        return math.prod(-1 if word.negates or word.direction < 0 else 1 for word in self._words)

    def agreement(self, other: "Directed") -> float:
        """In [-1, 1]: whether `other` lets the same things go the same way; 0 where it says nothing of them."""
        places = other._places
        return math.tanh(
            sum(
                max((self._directions[at] * said for said in map(other._said_at, places[term])), key=abs, default=0.0)
                for at, direction in enumerate(self._directions)
                if direction
                for term in self._things(at)
            )
            / 2
        )

    @functools.cached_property
    def _places(self) -> defaultdict[str, list[int]]:
        places = defaultdict[str, list[int]](list)
        for at in self._content:
            places[self._words[at].term].append(at)
        return places

    @functools.cached_property
    def _content(self) -> Sequence[int]:
        """Where words name things."""
        return [at for at, word in enumerate(self._words) if word.term and not word.direction and not word.negates]

    def _things(self, at: int) -> list[str]:
        """What the word at a place is about; of two words as near the one behind it."""
        nearest = sorted(self._content, key=lambda place: abs(place - at) + (0.5 if place < at else 0))
        return [self._words[place].term for place in nearest[:_THINGS]]

    def _said_at(self, at: int) -> float:
        """The direction nearest to a thing, of two as near the one before it, the weaker the farther away."""
        near = [place for place in range(at - _REACH, at + _REACH + 1) if 0 <= place < len(self._words)]
        directed = [place for place in near if self._directions[place]]
        if not directed:
            return 0.0
        place = min(directed, key=lambda place: abs(place - at) + (0.5 if place > at else 0))
        return self._directions[place] / (1 + abs(place - at) / _HALF)


def _word(word: str) -> _Word:
    low = word.lower()
    term = next((term for term in terms(word) if "-" not in term), "")
    if low in _NEGATING:
        return _Word(term, negates=True, direction=0)
    return _Word(term, negates=False, direction=bool({term, low} & _RAISING) - bool({term, low} & _LOWERING))


def _turned(words: Sequence[_Word], clauses: Sequence[int]) -> list[int]:
    """The directions of words; one that follows a negation closely, in its clause, is turned."""
    directions = [word.direction for word in words]
    for at, word in enumerate(words):
        if word.negates:
            scope = range(at + 1, min(at + 1 + _TURNED, len(words)))
            if first := [place for place in scope if directions[place] and clauses[place] == clauses[at]][:1]:
                directions[first[0]] *= -1
    return directions
