"""A transformer as an ONNX graph. Imports torch, and is imported by freezing alone."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from transformers import AttentionInterface, AttentionMaskInterface

from rag_papers.retrieval.encoders.freezing import NotFreezable
from rag_papers.retrieval.encoders.head import Head

FUSED, PLAIN = "rag_papers_fused", "eager"
"""How attention is put into a graph: as one step of onnxruntime, where neither masks nor positions enter it and every
head has keys of its own; or written out, which is slower."""

_OPSET = 18
_EXPORTED_ROWS, _EXPORTED_TOKENS = 2, 16  # any will do: both axes are free in the graph
_ROUND_HEADS = ["onnx::Reshape", "onnx::Transpose", "onnx::Transpose", "onnx::Reshape"]


def export(model: Any, head: Head, path: Path, attention: str) -> None:
    """Writes the graph of a transformer and what follows it, of rows without padding.

    torch's older exporter: its graphs run faster in onnxruntime, and it takes seconds where the newer one takes half a
    minute. Raises NotFreezable.
    """

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.head = head

        def forward(self, input_ids: torch.Tensor) -> Any:
            return self.head(self.model(input_ids=input_ids, return_dict=False)[0])

    ids = torch.arange(1, 1 + _EXPORTED_ROWS * _EXPORTED_TOKENS).reshape(_EXPORTED_ROWS, _EXPORTED_TOKENS)
    try:
        with _attention(model, attention), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing; that the graph is right is proved on texts
            torch.onnx.export(
                Graph().eval(),
                (ids,),
                str(path),
                input_names=["input_ids"],
                output_names=["vectors"],
                dynamic_axes={"input_ids": {0: "rows", 1: "tokens"}, "vectors": {0: "rows"}},
                opset_version=_OPSET,
                dynamo=False,
                custom_opsets={"com.microsoft": 1},
            )
    except Exception as error:  # whatever a model's code and the exporter may run into
        raise NotFreezable(f"torch cannot export it: {type(error).__name__}: {error}") from error


def move_weights(path: Path, weights: Path) -> None:
    """Moves the weights of a graph into a file beside it, which onnxruntime maps into memory and need not copy."""
    graph = onnx.load(path)
    weights.unlink(missing_ok=True)  # onnx would append to it
    onnx.save_model(graph, path, save_as_external_data=True, location=weights.name)
    weights.chmod(path.stat().st_mode)  # onnx would let its owner alone read it


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


class _MultiHeadAttention(torch.autograd.Function):
    """onnxruntime's step: (rows, tokens, width) each of queries, keys and values, split into heads by itself."""

    @staticmethod
    def forward(
        _: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, scale: float
    ) -> torch.Tensor:
        return torch.empty_like(query)  # only traced

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int, scale: float) -> Any:
        inputs = [_projected(each) for each in (query, key, value)]
        return graph.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=heads, scale_f=scale).setType(
            query.type()
        )


def _projected(value: Any) -> Any:
    """What was split into heads and put together again, where nothing happened between."""
    first = value
    for kind in _ROUND_HEADS:
        if first.node().kind() != kind:
            return value
        first = first.node().inputsAt(0)
    return first


def _fused(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface: queries, keys and values are (rows, heads, tokens, width)."""
    heads, width = int(query.shape[1]), int(query.shape[3])
    if attention_mask is not None or int(key.shape[1]) != heads:
        raise ValueError("this attention is no plain one")
    joined = (each.transpose(1, 2).flatten(2) for each in (query, key, value))
    step: Callable[..., torch.Tensor] = _MultiHeadAttention.apply
    return step(*joined, heads, scaling or width**-0.5), None


def _no_mask(*_: Any, **__: Any) -> None:
    """A batch without padding needs none; that the model wants another one shows when vectors are compared."""


AttentionInterface.register(FUSED, _fused)
AttentionMaskInterface.register(FUSED, _no_mask)
