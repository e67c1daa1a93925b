"""From the vectors of a text's tokens to the vector of the text, as the end of a graph. Imports torch.

Of the ways to write it down these are the ones by which onnxruntime adds up a row alike, whatever rows are beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch


class Head(torch.nn.Module):
    """Pooling, dense layers, and L2 normalisation."""

    def __init__(self, pooling: str, dense: Sequence[Any]) -> None:
        """`pooling` is one of `freezing.POOLINGS`; `dense` are layers of sentence-transformers."""
        super().__init__()
        self._pooling = pooling
        self._dense: Any = torch.nn.ModuleList(dense)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, width), without padding, to (rows, dim), rows of length one; zeros stay zeros."""
        match self._pooling:
            case "mean":
                vectors = torch.nn.functional.adaptive_avg_pool1d(hidden.transpose(1, 2), 1).squeeze(2)
            case "cls":
                vectors = hidden[:, 0]
            case "max":
                vectors = hidden.amax(dim=1)
        for layer in self._dense:
            vectors = layer.activation_function(layer.linear(vectors))
        step: Callable[[torch.Tensor], torch.Tensor] = _Normalize.apply
        return step(vectors)


class _Normalize(torch.autograd.Function):
    """ONNX's step: rows of (rows, dim) divided by their lengths."""

    @staticmethod
    def forward(_: Any, vectors: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(vectors)  # only traced

    @staticmethod
    def symbolic(graph: Any, vectors: Any) -> Any:
        return graph.op("LpNormalization", vectors, axis_i=1, p_i=2).setType(vectors.type())
