"""From the vectors of a text's tokens to the vector of the text.

One row at a time and without BLAS, whose way of adding up depends on the number of rows and threads: a vector is a
function of its text alone, to the last bit.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

POOLINGS: Mapping[str, Callable[[Floats], Floats]] = {
    "mean": lambda tokens: tokens.sum(axis=0) / np.float32(len(tokens)),
    "cls": lambda tokens: tokens[0],
    "max": lambda tokens: tokens.max(axis=0),
}
"""(tokens, width) to (width,), by the names that sentence-transformers gives them."""

ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "Identity": lambda vector: vector,
    "Tanh": np.tanh,
    "ReLU": lambda vector: np.maximum(vector, np.float32(0)),
}
"""By the names of torch's classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense:
    """A linear layer with an activation."""

    weight: Floats
    """(out, in)."""
    bias: Floats | None
    """(out,)."""
    activation: str
    """A key of ACTIVATIONS."""

    def __call__(self, vector: Floats) -> Floats:
        """(in,) to (out,)."""
        product = np.einsum("oi,i->o", self.weight, vector, optimize=False)
        return ACTIVATIONS[self.activation](product if self.bias is None else product + self.bias)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """Pooling, dense layers, and L2 normalisation."""

    pooling: str
    """A key of POOLINGS."""
    dense: Sequence[Dense]

    def __call__(self, tokens: Floats) -> Floats:
        """(tokens, width), without padding, to the vector of length one; zeros stay zeros."""
        vector = POOLINGS[self.pooling](tokens)
        for layer in self.dense:
            vector = layer(vector)
        length = np.sqrt(np.square(vector).sum())
        return np.asarray(vector / max(length, np.float32(1e-12)), np.float32)
