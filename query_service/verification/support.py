"""How far the bytes of a context support a sentence.

A sentence is held against stretches of the context: a sentence, or two that follow each other. It is *supported* if it
is one of them word for word, or if nearly all of its content words stand in one and it passes every check of `clashes`:
quantities with their units, names, negation, direction, single words that were exchanged. These rules see what was
changed in a sentence that keeps close to its source. A free paraphrase they mostly call unsupported, for they cannot
tell it from a fluent falsehood; and a check that fails is a warning, not the proof of a contradiction.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from query_service.evidence import Sentence
from query_service.stop import Stop
from query_service.verification.clashes import Clash, Stated, clashes, missing_names, missing_quantities
from query_service.verification.opposites import opposite
from rag_papers.retrieval.analysis import normalise

Idf = Callable[[str], float]
"""How rare a term is, at least 0."""


class Vectors(Protocol):
    """What embeds texts, such as CallVectors."""

    def texts(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""


class Entailment(Protocol):
    """A model that reads two texts together. Safe to use from several threads."""

    def judge(self, pairs: Sequence[tuple[str, str]], /) -> Sequence[tuple[float, float]]:
        """For each (text, claim) the probabilities in [0, 1] that the text entails and contradicts the claim."""


ENOUGH = 0.7
"""Share of a sentence's content words, weighted by rarity, that must stand in the stretch that supports it."""
_SAME_MATTER = 0.5  # the same from which on a check that fails is worth a warning
_LIKELY = 0.5  # probability from which on the word of an entailment model counts
_CHECKED = 4  # stretches of the most coverage that are looked at closely


class Logistic(NamedTuple):
    """A logistic estimate, by benchmarks/support.py on the claims of SciFact's training set."""

    intercept: float
    weights: Mapping[str, float]
    """By feature."""

    def of(self, features: Mapping[str, float]) -> float:
        """In (0, 1)."""
        return 1 / (1 + math.exp(-self.intercept - sum(w * features[name] for name, w in self.weights.items())))


ABOUT = Logistic(
    -4.3,
    {
        "coverage": 4.0,
        "subject": 5.4,
        "names": -0.4,
        "quantities": -0.2,
    },
)
"""How likely a text speaks of what a claim is about."""
AGREES = Logistic(
    0.2,
    {
        "leaning": 1.1,
        "agreement": 1.5,
        "parity": 0.3,
        "lowers": -0.8,
        "negates": -1.4,
        "negated": 0.1,
        "both": 1.3,
    },
)
"""How likely a text that speaks of what a claim is about does not contradict it."""
_LEANING = 10.0  # scale of the difference of two cosines, so that most of it lies in [-1, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Support:
    """What a context has for and against a sentence."""

    score: float
    """In [0, 1]: 1 for a sentence that stands there word for word, else an estimate of how likely it is supported: how
    likely the stretch is about the same, times `agreement`.
    """
    agreement: float
    """In [0, 1]: how likely the stretch goes the same way, if it is about the same at all."""
    coverage: float
    """Share of its content words, weighted by rarity, that stand in the stretch or its headings, in [0, 1]."""
    supported: bool
    clashes: tuple[Clash, ...] = ()
    """The checks that fail on a stretch about the same matter: warnings."""
    contradicted: bool = False
    """An entailment model says so."""
    source: int = 0
    """Number of the source that the stretch is from."""
    stretch: tuple[Sentence, ...] = ()
    """The sentences that come nearest, in order; none without a context."""


NOTHING = Support(score=0.0, agreement=0.0, coverage=0.0, supported=False)
"""Of an empty context."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stretch:
    source: int
    sentences: tuple[Sentence, ...]
    stated: Stated


class Context:
    """The sentences that answers are held against."""

    def __init__(
        self,
        sources: Mapping[int, Sequence[Sentence]],
        idf: Idf,
        vectors: Vectors | None = None,
        entailment: Entailment | None = None,
        stop: Stop | None = None,
    ) -> None:
        """`sources` are sentences in reading order by the number of their source. `vectors` make the estimate better;
        `entailment`, where there is one, decides what the rules can only warn of. `stop` is looked at all the while.
        """
        self._idf = idf
        self._stop = stop or Stop()
        self._vectors = vectors
        self._entailment = entailment
        self._stretches = [
            self._stretch(source, group)
            for source, sentences in sources.items()
            for group in [*((sentence,) for sentence in sentences), *itertools.pairwise(sentences)]
        ]

    def support(self, text: str, among: Callable[[Sentence], bool] = lambda sentence: True) -> Support:
        """Of `text`, a sentence, by the sentences `among` lets through. Raises DeadlineExceeded."""
        stretches = [stretch for stretch in self._stretches if all(map(among, stretch.sentences))]
        said = normalise(text)
        for stretch in stretches:
            self._stop.check()
            if said and said == stretch.stated.normalised:
                return Support(
                    score=1.0,
                    coverage=1.0,
                    agreement=1.0,
                    supported=True,
                    source=stretch.source,
                    stretch=stretch.sentences,
                )
        claim = Stated(text=text)
        if not claim.tokens:
            return NOTHING
        covered = [(self._coverage(claim, stretch.stated), stretch) for stretch in stretches]
        alone = [each for each in covered if len(each[1].sentences) == 1]
        found = [self._against(claim, *each) for each in _most_covering(alone)]
        # Two sentences together support what neither does alone, but not one of them with a word exchanged.
        if not any(each.supported or Clash.WORDING in each.clashes for each in found):
            most = max((coverage for coverage, _ in alone), default=0.0)
            found += [self._against(claim, *each) for each in _most_covering(covered) if each[0] > most]
        if self._entailment and found:
            found = _judged(self._entailment, text, found)
        return max(found, key=lambda each: (each.supported, each.coverage, each.score), default=NOTHING)

    def _stretch(self, source: int, sentences: tuple[Sentence, ...]) -> _Stretch:
        self._stop.check()
        record = sentences[0].record
        text = " ".join(sentence.text for sentence in sentences)
        stated = Stated(text=text, title=record.title, section=record.section)
        return _Stretch(source=source, sentences=sentences, stated=stated)

    def _coverage(self, claim: Stated, text: Stated) -> float:
        self._stop.check()
        weights = {term: 1 + self._idf(term) for term in claim.terms}
        covered = sum(weight for term, weight in weights.items() if term in text.terms_with_headings)
        return covered / sum(weights.values()) if weights else 0.0

    def _against(self, claim: Stated, coverage: float, stretch: _Stretch) -> Support:
        self._stop.check()
        failed = clashes(claim, stretch.stated)
        found = features(claim, stretch.stated, coverage, self._vectors)
        agreement = AGREES.of(found)
        return Support(
            score=ABOUT.of(found) * agreement,
            coverage=coverage,
            agreement=agreement,
            supported=coverage >= ENOUGH and not failed,
            clashes=failed if coverage >= _SAME_MATTER else (),
            source=stretch.source,
            stretch=stretch.sentences,
        )


def _most_covering(covered: Sequence[tuple[float, _Stretch]]) -> Sequence[tuple[float, _Stretch]]:
    """Those that cover most; of equals the first."""
    return sorted(covered, key=lambda each: -each[0])[:_CHECKED]


def _judged(entailment: Entailment, text: str, found: Sequence[Support]) -> list[Support]:
    """With the verdict of a model; that a quantity or a name does not stand there counts more than its word."""
    pairs = [(" ".join(sentence.text for sentence in each.stretch), text) for each in found]
    return [
        dataclasses.replace(
            each,
            score=entailed,
            agreement=entailed / (entailed + contradicted) if entailed + contradicted else 0.5,
            supported=entailed >= _LIKELY and not {Clash.QUANTITY, Clash.NAME}.intersection(each.clashes),
            contradicted=contradicted >= _LIKELY,
        )
        for each, (entailed, contradicted) in zip(found, entailment.judge(pairs), strict=True)
    ]


def features(claim: Stated, text: Stated, coverage: float, vectors: Vectors | None) -> dict[str, float]:
    """What the estimates are made from, all in [-1, 1]; `coverage` stands in for cosines where there are no vectors."""
    subject, leaning = coverage, 0.0
    if vectors is not None:
        texts = [claim.text, text.text, opposite(claim.text), text.title or text.text]
        own, other, turned, title = vectors.texts(texts).astype(np.float64)
        subject = float(np.clip(own @ title, 0, 1))
        leaning = float(np.clip(_LEANING * (own - turned) @ other, -1, 1))
    ways, other_ways = claim.directed, text.directed
    return {
        "coverage": coverage,
        "subject": subject,
        "names": len(missing_names(claim, text)) / max(1, len(claim.names)),
        "quantities": len(missing_quantities(claim, text)) / max(1, len(claim.quantities)),
        "leaning": leaning,
        "agreement": ways.agreement(other_ways),
        "parity": float(ways.parity * other_ways.parity),
        "lowers": float(ways.lowers),
        "negates": float(ways.negates),
        "negated": float(other_ways.negates),
        "both": float(ways.negates and other_ways.negates),
    }
