"""The built-in encoder, which needs no model."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.encoders.base import Prompts
from rag_papers.retrieval.encoders.batching import by_length


class HashingEncoder:
    """Signed feature hashing of a text's terms (Weinberger et al., "Feature Hashing for Large Scale Multitask
    Learning", 2009). Needs no model: for tests and for trying the services where no model can be had. Matches words,
    not meanings.
    """

    max_tokens = 256
    prompts = Prompts()

    def __init__(self, dim: int) -> None:
        self.name = f"hashing-{dim}"
        self.identity = f"{self.name}-1"
        self.dim = dim

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """White-space separated words of each text."""
        return [len(text.split()) for text in texts]

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Positions in `texts` in batches, the shortest texts first."""
        return by_length([len(text) for text in texts])

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for term in terms(text) or [text]:
                number = int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest())
                vectors[row, (number >> 1) % self.dim] += 1 if number & 1 else -1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[norms[:, 0] == 0, 0] = 1  # terms that cancel each other out leave no direction: any will do
        norms[norms == 0] = 1
        vectors /= norms
        return vectors
