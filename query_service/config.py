"""The settings of one call: defaults and bounds in one table, which validation uses too."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

MAX_PASSAGES = 1000
"""Most passages that a call may ask for."""
MAX_WEIGHT = 1000.0
"""Largest weight of one side of the fused ranking."""
MAX_CHARS = 1_000_000
"""Largest budget of characters."""
MAX_DOCUMENT_IDS = 1000
"""Most document ids of a filter."""
MAX_PATH_PREFIXES = 100
"""Most path prefixes of a filter."""
MAX_FILTER_CHARS = 1024
"""Most characters of an entry of a filter."""
MAX_SESSION_ID_CHARS = 100
"""Longest id that is looked for among the sessions."""
MAX_RERANKER_CHARS = 1024
"""Longest name of a reranker."""


def _bounded(default: float, low: float, high: float) -> Any:
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaults:
    """What the service's settings say for questions that do not."""

    reranker: str
    generator: str
    abstain_threshold: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The settings of one retrieval."""

    top_k: int = _bounded(10, 1, MAX_PASSAGES)
    """Passages to retrieve."""
    bm25_weight: float = _bounded(0.5, 0, MAX_WEIGHT)
    """Weight of BM25; 0 leaves it out."""
    vector_weight: float = _bounded(0.5, 0, MAX_WEIGHT)
    """Weight of the vectors; 0 leaves them out."""
    exact: bool = False
    """Whether all vectors are compared, also where there is an approximate index."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskConfig:
    """The settings of one question."""

    top_k_first: int = _bounded(12, 1, MAX_PASSAGES)
    """Passages to retrieve."""
    rerank_top_k: int = _bounded(8, 1, MAX_PASSAGES)
    """Passages to keep after reranking."""
    prune_min_overlap: int = _bounded(1, 0, 100)
    """Content words that a sentence must share with the question, at most as many as the question has."""
    prune_max_chars: int = _bounded(2200, 1, MAX_CHARS)
    """Most characters that pruning keeps."""
    context_max_chars: int = _bounded(4000, 1, MAX_CHARS)
    """Most characters of context."""
    accept_threshold: float = _bounded(0.72, 0, 1)
    """Score from which on an answer is accepted."""
    max_repairs: int = _bounded(1, 0, 5)
    """How often an answer that is not accepted is repaired."""
    bm25_weight: float = _bounded(0.5, 0, MAX_WEIGHT)
    """Weight of BM25."""
    vector_weight: float = _bounded(0.5, 0, MAX_WEIGHT)
    """Weight of the vectors."""
    bm25_weight_on_repair: float = _bounded(0.7, 0, MAX_WEIGHT)
    """Weight of BM25 in a repair."""
    vector_weight_on_repair: float = _bounded(0.3, 0, MAX_WEIGHT)
    """Weight of the vectors in a repair."""
    temperature: float = _bounded(0.2, 0, 2)
    """Sampling temperature of generators that sample."""
    temperature_on_repair: float = _bounded(0.1, 0, 2)
    """The same in a repair."""
    generator: str = "extractive"
    """Name of the generator."""
    seed: int = _bounded(0, -(1 << 63), (1 << 63) - 1)
    """Seed of generators that sample."""
    reranker: str = "best-sentence"
    """Name of the reranker."""
    exact: bool = False
    """Whether all vectors are compared, also where there is an approximate index."""
    abstain_threshold: float = _bounded(0.48, 0, 1)
    """Strength of the best sentence below which there is no answer."""

    @property
    def uses_vectors(self) -> bool:
        """Whether any retrieval gives the vectors weight; without, no model is opened."""
        return bool(self.vector_weight or (self.max_repairs and self.vector_weight_on_repair))

    def search(self, repair: int) -> SearchConfig:
        """The settings of the retrieval of the first attempt (0) or of a repair (from 1)."""
        return SearchConfig(
            top_k=self.top_k_first,
            bm25_weight=self.bm25_weight_on_repair if repair else self.bm25_weight,
            vector_weight=self.vector_weight_on_repair if repair else self.vector_weight,
            exact=self.exact,
        )


def violations(kind: type[SearchConfig] | type[AskConfig], values: Mapping[str, float | str]) -> dict[str, str]:
    """What is wrong with the numbers among `values`, which set fields of `kind`, by field."""
    wrong: dict[str, str] = {}
    effective = {
        field.name: values.get(field.name, cast(float | str, field.default)) for field in dataclasses.fields(kind)
    }
    for field in dataclasses.fields(kind):
        value = effective[field.name]
        if not isinstance(value, str | bool) and not field.metadata["low"] <= value <= field.metadata["high"]:
            wrong[field.name] = f"is {value:g}; must be from {field.metadata['low']:,} to {field.metadata['high']:,g}"
    for suffix in ("", "_on_repair"):
        pair = {f"bm25_weight{suffix}", f"vector_weight{suffix}"}
        if pair <= effective.keys() and all(effective[name] == 0 for name in pair):
            wrong |= dict.fromkeys(sorted(pair), "both weights are 0: nothing would be ranked")
    return wrong
