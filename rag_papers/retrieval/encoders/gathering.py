"""Concurrent calls of one encoder, encoded together."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.batching import Gatherer
from rag_papers.retrieval.encoders.base import Encoder, Prompts

_AT_ONCE = 32
"""Most calls of a run: bounds how long those wait that come while it lasts."""

_Vectors = npt.NDArray[np.float32]


class GatheringEncoder:
    """An encoder whose concurrent calls share its runs."""

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.identity = encoder.identity
        self.dim = encoder.dim
        self.max_tokens = encoder.max_tokens
        self._encoder = encoder
        self._gathered = Gatherer(self._run, most=_AT_ONCE)

    @property
    def prompts(self) -> Prompts:
        """Those of the encoder."""
        return self._encoder.prompts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return self._encoder.count_tokens(texts)

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """The encoder's."""
        return self._encoder.batches(texts)

    def encode(self, texts: Sequence[str]) -> _Vectors:
        """(len(texts), dim), rows L2-normalised."""
        return self._gathered(texts)

    def _run(self, calls: list[Sequence[str]]) -> list[_Vectors]:
        vectors = self._encoder.encode(list(itertools.chain.from_iterable(calls)))
        return np.split(vectors, np.cumsum([len(texts) for texts in calls])[:-1])
