"""Freezing: a sentence-transformers model to files that need none of its libraries, proved equal to it."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rag_papers.retrieval.encoders.base import FP32, INT8
from rag_papers.retrieval.encoders.configuration import Configuration, Module, pooling_modes
from rag_papers.retrieval.encoders.frozen import GRAPH, TOKENIZER, WEIGHTS, FrozenEncoder, FrozenSettings
from rag_papers.retrieval.encoders.reference import SentenceTransformerEncoder
from rag_papers.retrieval.models import ModelFiles

logger = logging.getLogger(__name__)

POOLINGS = ("mean", "cls", "max")
"""By the names that sentence-transformers gives them."""
ACTIVATIONS = ("Identity", "Tanh", "ReLU")
"""Of dense layers; names of torch's classes."""

LEAST_COSINE = {FP32: 0.99999, INT8: 0.9}
"""Least agreement of a frozen model with the reference, on every one of TEXTS, by precision."""

_SENTENCE = "Residual connections let gradients reach the early layers of a deep network."
TEXTS = (
    "What is dropout?",
    "transfer learning",
    "a",
    "",
    "  BERT, Bidirectional\tEncoder Representations from Transformers (2018)\n",
    "The loss fell from 3.41 to 0.87 in 12,000 steps; p < 0.05, n = 64.",
    "E = mc^2 and \\alpha_i \\leq \\sum_j w_{ij} x_j",
    "Café, naïve, Ångström, œuvre: straße",
    "深度学习改变了自然语言处理。",
    "глубокое обучение и الشبكات العصبية",
    "\U0001f600 emoji and \u200b marks that are not seen",
    "https://example.org/a?b=c#d user@example.org v1.2.3-rc4",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "Résumé\u0301 of UPPER and lower CASE",
    *(" ".join([_SENTENCE] * count) for count in (1, 2, 4, 8, 16, 64)),
)
"""What a frozen model is compared on: short and long, beyond the window, of several scripts, and nothing at all."""


class NotFreezable(Exception):
    """The model cannot be frozen; the message says why, for people."""


def freeze(files: ModelFiles, directory: Path, precision: str = FP32) -> None:
    """Writes the frozen model into `directory`, which is empty. Raises NotFreezable, ModelUnavailable and OSError.

    Loads torch for good; `freezing_process.freeze_apart` does the same and leaves nothing behind. The model is looked
    at before it is loaded, so that one which is not understood costs no time.
    """
    reference = SentenceTransformerEncoder(files)
    settings, pooling = _understood(reference.configuration)
    expected = reference.encode(TEXTS)
    shutil.copyfile(files.path / TOKENIZER, directory / TOKENIZER)
    settings.write(directory)
    model: Any = reference.model
    transformer, *stages = model
    dense = [stage for stage in stages if type(stage).__name__ == "Dense"]
    frozen = partial(FrozenEncoder, directory, name=files.name, identity=reference.identity)
    _write_graph(
        transformer.auto_model, pooling, dense, directory, lambda: _agree(frozen(), expected, LEAST_COSINE[FP32])
    )
    if precision == INT8:
        _quantize(directory)
        dataclasses.replace(settings, alone=True).write(directory)
        _agree(frozen(), expected, LEAST_COSINE[INT8])


def _understood(configuration: Configuration) -> tuple[FrozenSettings, str]:
    """What is kept of the configuration, and how tokens are pooled."""
    transformer, *rest = configuration.modules
    pooling = rest.pop(0) if rest else None
    if transformer.kind != "Transformer" or transformer.path or not pooling or pooling.kind != "Pooling":
        kinds = ", ".join(module.kind for module in configuration.modules)
        raise NotFreezable(f"its stages are {kinds}, not a transformer and a pooling")
    if not (configuration.files.path / TOKENIZER).is_file():
        raise NotFreezable(f"it has no {TOKENIZER}")
    if configuration.transformer.get("do_lower_case") and not _lowers(configuration):
        raise NotFreezable(f"it lowers its texts' case, which its {TOKENIZER} does not")
    modes = pooling_modes(pooling)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise NotFreezable(f"its pooling is {' and '.join(modes)}")
    if pooling.config.get("include_prompt") is False:
        raise NotFreezable("its pooling leaves out the prompt")
    for module in rest:
        if module.kind != "Normalize":
            _check_dense(module)
    settings = FrozenSettings(
        dim=configuration.dim,
        window=configuration.window,
        query_prompt=configuration.prompts.query,
        passage_prompt=configuration.prompts.passage,
    )
    return settings, modes[0]


def _check_dense(module: Module) -> None:
    if module.kind != "Dense":
        raise NotFreezable(f"it has a stage {module.kind}")
    name = str(module.config.get("activation_function", "Tanh")).rpartition(".")[2]
    plain = all(module.config.get(f"module_{end}_name") in (None, "sentence_embedding") for end in ("input", "output"))
    if name not in ACTIVATIONS or module.config.get("use_residual") or not plain:
        raise NotFreezable(f"its dense layer is no plain one with {', '.join(ACTIVATIONS)}")


def _lowers(configuration: Configuration) -> bool:
    normalizer = configuration.files.read_json(TOKENIZER).get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    return any(part.get("type") == "Lowercase" or part.get("lowercase") for part in parts)


def _write_graph(model: Any, pooling: str, dense: Sequence[Any], directory: Path, check: Callable[[], None]) -> None:
    """The fastest graph that passes `check`, which raises NotFreezable."""
    from rag_papers.retrieval.encoders.exporting import FUSED, PLAIN, export, move_weights
    from rag_papers.retrieval.encoders.head import Head

    head = Head(pooling, dense)
    for attention in (FUSED, PLAIN):
        try:
            export(model, head, directory / GRAPH, attention)
            move_weights(directory / GRAPH, directory / WEIGHTS)
            return check()
        except NotFreezable as error:
            if attention == PLAIN:
                raise
            logger.info("attention is written out; as one step it does not work: %s", error)


def _quantize(directory: Path) -> None:
    """Weights of the matrix products to eight bits, a scale for each column; their other factors are as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from rag_papers.retrieval.encoders.exporting import move_weights

    graph = directory / GRAPH
    try:
        quantize_dynamic(graph, graph, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    except Exception as error:  # whatever the library makes of the graph
        raise NotFreezable(f"it cannot be quantized: {type(error).__name__}: {error}") from error
    move_weights(graph, directory / WEIGHTS)


def _agree(frozen: FrozenEncoder, expected: np.ndarray, least: float) -> None:
    try:
        vectors = frozen.encode(TEXTS)
    except Exception as error:  # whatever onnxruntime makes of the graph
        raise NotFreezable(f"its frozen form does not run: {error}") from error
    if vectors.shape != expected.shape:
        raise NotFreezable(f"its frozen form has {vectors.shape[1]} dimensions, not {expected.shape[1]}")
    cosines = (vectors.astype(np.float64) * expected).sum(axis=1)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= least:  # NaN is not enough either
        shown = json.dumps(TEXTS[worst][:40], ensure_ascii=False)
        raise NotFreezable(f"its frozen form disagrees with the reference: cosine {cosines[worst]:.6f} on {shown}")
    logger.info("frozen model %s agrees with the reference: least cosine %.7f", frozen.name, cosines[worst])
