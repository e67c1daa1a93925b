"""Text to terms: what BM25 counts and matches.

Words are runs of letters and digits of any script, case-folded, without accents and vowel signs, stemmed (Snowball
English) unless they hold a digit. Hyphenated words and decimals are found by their parts, and whole as well where a
part alone says little (IL-6, 0.5, t-test, state-of-the-art). Runs of Chinese, Japanese and Korean characters, which
have no spaces, become overlapping pairs (character bigrams).
"""

import functools
import re
import threading
import unicodedata

import Stemmer

ANALYZER = "words-3/casefold/unaccent/stop-en-1/snowball-english/cjk-bigrams"
"""Identity of the analyzer; part of corpus_id, so changed whenever a text may give other terms."""

STOP_WORDS = frozenset(
    "a about above after again against all am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here hers "
    "him his how i if in into is it its itself just may me might more most must my no nor not now of off on once "
    "only or other our out over own s same shall she should so some such t than that the their them then there "
    "these they this those through to too under until up upon very was we were what when where which while who whom "
    "whose why will with would you your".split()
)
"""English function words: they are no terms."""

_CJK = (
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_CJK_RUN = re.compile(f"[{_CJK}]+")
_WORD = re.compile(rf"(?:(?![{_CJK}])[^\W_])+(?:['’.\-](?:(?![{_CJK}])[^\W_])+)*|[{_CJK}]+")
_JOINT = re.compile(r"[.\-]")
_HYPHENS = str.maketrans({"\N{HYPHEN}": "-", "\N{SOFT HYPHEN}": None})  # typesetters' ones, as keyboards have them
_APOSTROPHE = re.compile(r"['’]")

_local = threading.local()  # a Stemmer holds state, so that each thread needs its own


def normalise(text: str) -> str:
    """`text` as it is compared: Unicode NFC, white space runs as single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def terms(text: str) -> list[str]:
    """The terms of `text` in order, repeats included."""
    found: list[str] = []
    for word in _WORD.findall(_fold(text)):
        found += _terms_of_word(word)
    return found


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Decomposed before, so that letters which are symbols (the mathematical ones, the trade mark) are folded as well,
    # and after, as folding composes some. Without their marks, which are no letters, words stay in one piece.
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_HYPHENS)
    letters = "".join(c for c in unicodedata.normalize("NFKD", folded) if unicodedata.category(c)[0] != "M")
    # Hangul syllables decompose into letters too; composing again keeps them in one piece.
    return unicodedata.normalize("NFC", letters)


@functools.lru_cache(maxsize=1 << 16)
def _terms_of_word(word: str) -> tuple[str, ...]:
    if _CJK_RUN.match(word):
        return tuple(word[i : i + 2] for i in range(len(word) - 1)) or (word,)
    word = _APOSTROPHE.sub("", word[:-2] if word.endswith(("'s", "’s")) else word)
    parts = _JOINT.split(word)
    whole = (word,) if len(parts) > 1 and not all(map(_says_enough, parts)) else ()
    return (*whole, *(_stem(part) for part in parts if part not in STOP_WORDS))


def _says_enough(part: str) -> bool:
    return part.isalpha() and len(part) > 1 and part not in STOP_WORDS


def _stem(word: str) -> str:
    if not word.isalpha():
        return word
    try:
        stemmer = _local.stemmer
    except AttributeError:
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))
