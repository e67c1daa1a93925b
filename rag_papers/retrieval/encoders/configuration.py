"""What a model's own files say of it."""

import dataclasses
import functools
from pathlib import PurePosixPath
from typing import Any

from rag_papers.retrieval.encoders.base import Prompts
from rag_papers.retrieval.models import ModelFiles

_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")
_UNBOUNDED = 1_000_000  # a tokenizer without a limit writes 1e30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Module:
    """One stage of a sentence-transformers model."""

    kind: str
    """Name of its class."""
    path: str
    """Its directory, relative to the model's; empty: the model's own."""
    config: dict[str, Any]
    """Its config.json."""


class Configuration:
    """The configuration of a model, read when it is asked for. Everything may raise ModelUnavailable."""

    def __init__(self, files: ModelFiles) -> None:
        self.files = files

    @functools.cached_property
    def modules(self) -> list[Module]:
        """The stages in order; of a bare transformer those that sentence-transformers gives it."""
        listed = self.files.read_json("modules.json")
        if not listed:
            return [Module(kind="Transformer", path="", config=self.model), Module(kind="Pooling", path="", config={})]
        return [
            Module(
                kind=str(item.get("type", "")).rpartition(".")[2],
                path=item["path"],
                config=self.files.read_json(str(PurePosixPath(item["path"]) / "config.json")),
            )
            for item in listed
        ]

    @functools.cached_property
    def model(self) -> dict[str, Any]:
        """config.json of the transformer."""
        config: dict[str, Any] = self.files.read_json("config.json")
        return config

    @functools.cached_property
    def transformer(self) -> dict[str, Any]:
        """sentence_bert_config.json."""
        config: dict[str, Any] = self.files.read_json("sentence_bert_config.json")
        return config

    @functools.cached_property
    def dim(self) -> int:
        """Length of a vector: of the last module that names it, else the model's hidden size."""
        for module in reversed(self.modules):
            for field in ("out_features", "embedding_dimension", "word_embedding_dimension", "hidden_size"):
                if size := module.config.get(field):
                    return int(size) * (len(pooling_modes(module)) if module.kind == "Pooling" else 1)
        return int(self.model["hidden_size"])

    @functools.cached_property
    def window(self) -> int:
        """Most tokens of a text, marks of the model's own counted."""
        if window := self.transformer.get("max_seq_length"):
            return int(window)
        limits = (
            self.files.read_json("tokenizer_config.json").get("model_max_length"),
            self.model.get("max_position_embeddings"),
        )
        return min((int(limit) for limit in limits if limit and limit < _UNBOUNDED), default=512)

    @functools.cached_property
    def prompts(self) -> Prompts:
        """What the model's configuration has for queries and for passages, else its default for all texts."""
        config = self.files.read_json("config_sentence_transformers.json")
        known: dict[str, str | None] = config.get("prompts") or {}
        default = known.get(config.get("default_prompt_name") or "") or ""
        # sentence-transformers writes an empty prompt for documents beside one for passages.
        passages = [known[name] or "" for name in _PASSAGE_PROMPTS if name in known]
        passage = next(filter(None, passages), "" if passages else default)
        return Prompts(query=known.get("query", default) or "", passage=passage)


def pooling_modes(module: Module) -> list[str]:
    """The modes of a pooling module, in the order of their parts in the vector."""
    modes = module.config.get("pooling_mode")
    if isinstance(modes, str):
        return [modes]
    flagged = [mode for flag, mode in _POOLING_FLAGS.items() if module.config.get(flag)]
    return list(modes) if modes else flagged or ["mean"]
