"""Passages by their best sentence: a passage that answers often does so in one sentence, which the others dilute.

Like late interaction (Khattab & Zaharia, "ColBERT", 2020), with the sentences of a passage in the place of its tokens.
"""

from collections.abc import Sequence

from query_service.evidence import RankedPassage, heading_terms
from query_service.rerankers.base import Retrieved

_FUSED, _COSINE, _COVERAGE = 4, 1, 1  # weights, by measurement: benchmarks/rerank.py
_SENTENCES = 3  # of a passage, those that cover most, which are embedded: more cost time and gain nothing, fewer lose


class BestSentence:
    """The weighted mean of the fused score, the best cosine of a sentence and the best coverage of a sentence.

    Needs no model of its own: sentences have the vectors that the context is chosen by, from the embedding cache.
    """

    identity = "best-sentence-1"

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        """(4 fused + cosine + coverage) / 6, without vectors (4 fused + coverage) / 5."""
        coverages = [_coverages(retrieved, passage) for passage in retrieved.passages]
        total = _FUSED + _COVERAGE + (_COSINE if retrieved.vectors else 0)
        return [
            (_FUSED * passage.score + _COVERAGE * max(covered, default=0.0) + _COSINE * cosine) / total
            for passage, covered, cosine in zip(
                retrieved.passages, coverages, _cosines(retrieved, coverages), strict=True
            )
        ]


def _coverages(retrieved: Retrieved, passage: RankedPassage) -> list[float]:
    """Of each sentence together with its title and headings, which it need not repeat."""
    above = heading_terms(passage.record.title, passage.record.section)
    return [retrieved.coverage.of(above | sentence.terms) for sentence in passage.sentences]


def _cosines(retrieved: Retrieved, coverages: Sequence[Sequence[float]]) -> list[float]:
    """The best cosine of each passage, at least 0; 0 without vectors."""
    if retrieved.vectors is None:
        return [0.0] * len(coverages)
    texts = [
        [passage.sentences[number].text for number in _largest(covered)]
        for passage, covered in zip(retrieved.passages, coverages, strict=True)
    ]
    vectors = retrieved.vectors.texts([text for group in texts for text in group])
    cosines = iter((vectors @ retrieved.vectors.query(retrieved.question.text)).tolist())
    return [min(1.0, max([0.0, *(next(cosines) for _ in group)])) for group in texts]


def _largest(values: Sequence[float]) -> list[int]:
    """Where the largest of `values` are, of equal ones the first."""
    return sorted(range(len(values)), key=lambda number: -values[number])[:_SENTENCES]
