"""What a sentence states beyond its words: quantities with units, names, what it negates, which way things go.

Rules for English; a text of another language has quantities and, in Latin script, names.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from rag_papers.retrieval.analysis import STOP_WORDS, terms


class Quantity(NamedTuple):
    """A number and what it counts."""

    value: Decimal
    unit: str
    """In one spelling; empty: none that is known."""


UNITS: Mapping[str, str] = {
    spelling: unit
    for unit, spellings in {
        "%": "% percent percentage per\N{NO-BREAK SPACE}cent",
        "fold": "fold-fold times x ×",
        "ns": "ns nanosecond nanoseconds",
        "µs": "µs us microsecond microseconds",
        "ms": "ms millisecond milliseconds",
        "s": "s sec secs second seconds",
        "min": "min mins minute minutes",
        "h": "h hr hrs hour hours",
        "day": "d day days",
        "week": "wk wks week weeks",
        "month": "mo month months",
        "year": "y yr yrs year years",
        "ng": "ng nanogram nanograms",
        "µg": "µg ug mcg microgram micrograms",
        "mg": "mg milligram milligrams",
        "g": "g gram grams gm",
        "kg": "kg kilogram kilograms",
        "nm": "nm nanometer nanometers nanometre nanometres",
        "µm": "µm um micron microns micrometer micrometers micrometre micrometres",
        "mm": "mm millimeter millimeters millimetre millimetres",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres",
        "km": "km kilometer kilometers kilometre kilometres",
        "nl": "nl",
        "µl": "µl ul microliter microliters microlitre microlitres",
        "ml": "ml milliliter milliliters millilitre millilitres",
        "l": "l liter liters litre litres",
        "nM": "nmol nanomolar",
        "µM": "µmol umol micromolar",
        "mM": "mmol millimolar",
        "°C": "°c celsius",
        "°F": "°f fahrenheit",
        "K": "k kelvin",
        "Hz": "hz hertz",
        "kHz": "khz",
        "MHz": "mhz",
        "GHz": "ghz",
        "kB": "kb",
        "MB": "mb",
        "GB": "gb",
        "bp": "bp",
        "kDa": "kda",
        "Da": "da",
        "kPa": "kpa",
        "Pa": "pa",
        "MPa": "mpa",
        "V": "v volt volts",
        "mV": "mv",
        "W": "w watt watts",
        "eV": "ev",
        "USD": "$ dollar dollars usd",
        "EUR": "€ euro euros eur",
    }.items()
    for spelling in spellings.replace("fold-fold", "fold").split(" ")
}
_SCALES: Mapping[str, Decimal] = {
    "hundred": Decimal(100),
    "thousand": Decimal(1000),
    "million": Decimal(10**6),
    "billion": Decimal(10**9),
}
# Not "one", which is mostly a pronoun.
NUMBER_WORDS: Mapping[str, Decimal] = {
    word: Decimal(number)
    for word, number in zip(
        "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety".split(),
        [0, *range(2, 20), *range(20, 100, 10)],
        strict=True,
    )
}
_REFERENCE = re.compile(r"\[\d{1,4}(?:\s?[,–-]\s?\d{1,4})*\]")
_WORDS = "|".join(NUMBER_WORDS)
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
# A number within a name ("p53", "IL-6", "4-PBA") is no quantity; one before a unit is ("5mg", "28-day").
_QUANTITY = re.compile(
    rf"(?<![\w.])(?<![^\W\d_]-)(?P<currency>[$€])?(?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
    rf"|(?:{_WORDS})(?:-(?:{_WORDS}))?\b)(?:[\s-]?(?P<scale>{'|'.join(_SCALES)})\b)?"
    rf"(?:[\s-]*(?P<unit>{_UNIT})(?![^\W_])|(?!\w)(?!['’]?-[^\W\d_]))",
    re.IGNORECASE,
)


def quantities(text: str) -> frozenset[Quantity]:
    """The numbers of `text`, in digits or words, with their units; marks of references are none."""
    return frozenset(_quantity(match) for match in _QUANTITY.finditer(_plain(text)))


def _quantity(match: re.Match[str]) -> Quantity:
    number = match["number"].lower()
    if number[0].isalpha():
        value = sum((NUMBER_WORDS[word] for word in number.split("-")), Decimal(0))
    else:
        value = Decimal(number.replace(",", ""))
    if match["scale"]:
        value *= _SCALES[match["scale"].lower()]
    unit = match["unit"] or match["currency"] or ""
    return Quantity(value.normalize(), UNITS.get(unit.lower(), ""))


def _plain(text: str) -> str:
    text = _REFERENCE.sub(" ", text).replace("\N{GREEK SMALL LETTER MU}", "µ").replace("\N{MINUS SIGN}", "-")
    return text.replace("per cent", "percent")


_WORD = re.compile(r"[^\W_]+(?:['’.\-/‐‑–][^\W_]+)*")
_JOINT = re.compile(r"[\-./‐‑–]")
_BEGINNING = re.compile(r"(?:^|[.!?:;]\s+|[\"“(\[]\s*)$")
_BEFORE = 20  # characters in front of a word that tell whether it begins a sentence
_NO_NAMES = frozenset("i figure fig table section chapter equation eq".split())


def names(text: str) -> frozenset[str]:
    """The names in `text`, without case and hyphens: acronyms, formulas, words with a capital within a sentence."""
    if text.isupper():
        return frozenset()
    return frozenset(
        _squeezed(match.group())
        for match in _WORD.finditer(text)
        if _is_name(match.group(), bool(_BEGINNING.search(text, max(0, match.start() - _BEFORE), match.start())))
    )


def _is_name(word: str, begins: bool) -> bool:
    if len(word) < 2 or word.isdecimal() or word.lower() in _NO_NAMES or _QUANTITY.match(word):
        return False
    inner = any(map(str.isdigit, word)) or any(map(str.isupper, "".join(part[1:] for part in _JOINT.split(word))))
    return inner or (not begins and word[0].isupper() and word.lower() not in STOP_WORDS)


def named(text: str) -> frozenset[str]:
    """All by which `text` may hold a name: words and parts of them as `names` writes them, initials of phrases."""
    found: set[str] = set()
    words = _WORD.findall(text)
    for word in words:
        found |= {_squeezed(word), *map(_squeezed, _JOINT.split(word))}
    initials = [part[0].casefold() for word in words for part in _JOINT.split(word) if part]
    for length in (3, 4, 5):
        found |= {"".join(initials[at : at + length]) for at in range(len(initials) - length + 1)}
    return frozenset(found)


def lacks(name: str, present: frozenset[str]) -> bool:
    """Whether a name of `names` is not in what `named` gave."""
    return name not in present and name.removesuffix("s") not in present and f"{name}s" not in present


def _squeezed(word: str) -> str:
    return _JOINT.sub("", word).removesuffix("'s").removesuffix("’s").casefold()


_NEGATION = re.compile(
    r"\b(?:not(?! only)|cannot|no(?! (?:doubt|longer than|less than|more than))|never|neither|nor|none|without"
    r"|fail(?:s|ed|ing)?(?: to)?|lack(?:s|ed|ing)?(?: of)?|unable|absen(?:t|ce)(?: of)?|unlikely|hardly|rarely)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
SCOPE_ENDS = re.compile(r"[,;:.()]|\b(?:but|although|whereas|while|however|because|unlike|than)\b", re.IGNORECASE)
"""What a negation does not reach beyond."""
_NEAR = 200  # characters that hold as many words
_SCOPE = 3  # content words after a negation that it is taken to be about


def negations(text: str) -> int:
    """How many words of `text` negate."""
    return sum(1 for _ in _NEGATION.finditer(text))


def negated(text: str) -> frozenset[str]:
    """The terms of `text` that follow a negation closely."""
    found: list[str] = []
    for match in _NEGATION.finditer(text):
        near = text[match.end() : match.end() + _NEAR]
        end = SCOPE_ENDS.search(near)
        found += terms(near[: end.start()] if end else near)[:_SCOPE]
    return frozenset(found)


UP = frozenset(
    terms(
        "increases higher greater rises raises elevates enhances improves promotes upregulates grows faster larger "
        "longer better stronger stimulates positive exceeds outperforms accelerates expands older highest activates "
        "induces gains facilitates bigger most best strengthens earlier"
    )
) | {"more", "above"}
DOWN = frozenset(
    terms(
        "decreases lower lesser less declines reduces lowers diminishes impairs suppresses downregulates shrinks "
        "slower "
        "smaller shorter worse weaker inhibits negative blocks attenuates decelerates younger lowest drops falls "
        "deactivates prevents loses hinders fewer underperforms least worst weakens later"
    )
) | {"below"}


def directions(text: str) -> tuple[int, int]:
    """How many words of `text` say that something goes up or is more, and how many that it goes down or is less."""
    own = [term for term in terms(text) if "-" not in term] + [
        w for w in text.lower().split() if w in ("more", "above", "below")
    ]
    return sum(term in UP for term in own), sum(term in DOWN for term in own)


_THAN = re.compile(r"\bthan\b", re.IGNORECASE)


def compared(text: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """The terms on the two sides of the first "than" of `text`; None without one."""
    match = _THAN.search(text)
    return (frozenset(terms(text[: match.start()])), frozenset(terms(text[match.end() :]))) if match else None
