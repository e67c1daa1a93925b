"""The opposite of a sentence, by one change of its words (English): a text may be nearer to the one or the other."""

import re
from collections.abc import Iterator, Mapping

# Each to what takes its place; verbs before adjectives, for a sentence mostly turns on its verb.
_VERBS = (
    "increase decrease, increases decreases, increased decreased, increasing decreasing, decrease increase, "
    "decreases increases, decreased increased, raise lower, raises lowers, reduce increase, reduces increases, "
    "reduced increased, reduction increase, enhance impair, enhances impairs, enhanced impaired, improve worsen, "
    "improves worsens, improved worsened, impair improve, impairs improves, impaired improved, promote inhibit, "
    "promotes inhibits, promoted inhibited, inhibit promote, inhibits promotes, inhibited promoted, upregulate "
    "downregulate, upregulates downregulates, upregulated downregulated, downregulates upregulates, activates "
    "inhibits, stimulate suppress, stimulates suppresses, suppress stimulate, suppresses stimulates, suppressed "
    "stimulated, induce prevent, induces prevents, induced prevented, prevent induce, prevents induces, prevented "
    "induced, cause prevent, causes prevents, protect harm, protects harms, lengthens shortens, facilitates "
    "hinders, attenuates amplifies, blocks permits, impedes facilitates, accelerates slows, delays accelerates, "
    "gains loses, limits extends, diminishes enhances, elevates lowers, outperforms underperforms"
)
_ADJECTIVES = (
    "higher lower, lower higher, high low, low high, elevated reduced, highest lowest, greater lesser, more less, "
    "less more, fewer more, faster slower, slower faster, larger smaller, smaller larger, longer shorter, shorter "
    "longer, better worse, worse better, poorer better, stronger weaker, weaker stronger, positive negative, "
    "negative positive, positively negatively, negatively positively, presence absence, absence presence, many few, "
    "few many, above below, below above, early late, earlier later, older younger, younger older, susceptible "
    "resistant, resistant susceptible, necessary unnecessary, essential dispensable, common rare, rare common, "
    "effective ineffective, ineffective effective, beneficial harmful, activation inhibition, inhibition "
    "activation, gain loss, loss gain"
)


def _table(text: str) -> tuple[Mapping[str, str], re.Pattern[str]]:
    pairs = [(word, other) for word, other in map(str.split, text.split(", "))]
    table = dict(pairs)
    return table, re.compile(rf"\b(?:{'|'.join(sorted(table, key=len, reverse=True))})\b", re.IGNORECASE)


_TABLES = (_table(_VERBS), _table(_ADJECTIVES))
_AUXILIARY = r"\b(?:does|do|did|is|are|was|were|has|have|had|can|could|may|will|would|should)\b"
_NEGATED = re.compile(rf"({_AUXILIARY}) not\b|\bcannot\b", re.IGNORECASE)
_NO = re.compile(r"\b(?:no|never|lacks?|fails? to|failed to|without|neither|unable to) ?", re.IGNORECASE)
_AUXILIARY_VERB = re.compile(_AUXILIARY, re.IGNORECASE)
_VERB = re.compile(r"(?<=\w) \w+(?:[^su]s|ed)\b")


def opposite(text: str) -> str:
    """`text` with its first negation taken away; without one, with its first word of direction turned; else negated."""
    return next(_opposites(text))


def _opposites(text: str) -> Iterator[str]:
    if match := _NEGATED.search(text):
        yield text[: match.start()] + (match[1] or "can") + text[match.end() :]
    if match := _NO.search(text):
        yield text[: match.start()] + text[match.end() :]
    for table, pattern in _TABLES:
        if match := pattern.search(text):
            yield text[: match.start()] + table[match.group().lower()] + text[match.end() :]
    if match := _AUXILIARY_VERB.search(text):
        yield f"{text[: match.end()]} not{text[match.end() :]}"
    if match := _VERB.search(text):
        yield f"{text[: match.start()]} does not{text[match.start() :]}"
    yield f"It is not true that {text}"
