"""Encoders: text to vectors."""

import functools
import hashlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.models import ModelFiles, identity, locate

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer


class Encoder(Protocol):
    """Turns texts into vectors. Everything but `encode` is cheap; a model is loaded by the first `encode`."""

    @property
    def name(self) -> str:
        """The name that the model was asked for by."""

    @property
    def identity(self) -> str:
        """Digest of all that shapes the vectors: encoders of equal identity are interchangeable."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text that `encode` takes into account, marks of the model's own not counted."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, marks of the model's own not counted."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised. Safe to call from several threads."""


def open_encoder(name: str, *, download: bool = False) -> Encoder:
    """The encoder of a model name. Raises ModelUnavailable; `download` allows the Hugging Face hub to be asked."""
    if match := re.fullmatch(r"hashing-(\d{1,4})", name):
        return HashingEncoder(max(1, int(match[1])))
    return SentenceTransformerEncoder(locate(name, download=download))


class HashingEncoder:
    """Signed feature hashing of a text's terms (Weinberger et al., "Feature Hashing for Large Scale Multitask
    Learning", 2009). Needs no model: for tests and for trying the services where no model can be had. Matches words,
    not meanings.
    """

    max_tokens = 256

    def __init__(self, dim: int) -> None:
        self.name = f"hashing-{dim}"
        self.identity = f"{self.name}-1"
        self.dim = dim

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """White-space separated words of each text."""
        return [len(text.split()) for text in texts]

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


class SentenceTransformerEncoder:
    """A sentence-transformers model. The library and the weights are loaded by the first `encode`."""

    def __init__(self, files: ModelFiles) -> None:
        self.name = files.name
        self._files = files
        self._lock = threading.Lock()

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the model's files."""
        return identity(self._files)

    @functools.cached_property
    def dim(self) -> int:
        """Length of a vector: of the last module that names it, else the model's hidden size."""
        for module in reversed(self._files.read_json("modules.json") or []):
            config = self._files.read_json(str(Path(module["path"]) / "config.json"))
            size = config.get("out_features") or config.get("word_embedding_dimension") or config.get("hidden_size")
            if size:
                return int(size)
        return int(self._files.read_json("config.json")["hidden_size"])

    @functools.cached_property
    def max_tokens(self) -> int:
        """The model's window, less the marks that it adds to each text."""
        window = self._files.read_json("sentence_bert_config.json").get("max_seq_length")
        window = window or self._files.read_json("config.json").get("max_position_embeddings") or 512
        return int(window) - int(self._tokenizer.num_special_tokens_to_add(False))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        with self._lock:  # the tokenizer's padding is state of the model
            vectors = self._model.encode(
                list(texts),
                convert_to_numpy=True,
                normalize_embeddings=True,
                show_progress_bar=False,
                batch_size=max(1, len(texts)),
            )
        return np.asarray(vectors, np.float32)

    @functools.cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._files.path / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @functools.cached_property
    def _model(self) -> "SentenceTransformer":
        # Takes seconds, so not before a text needs it.
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelUnavailable(
                f"sentence-transformers cannot be loaded ({error}): pip install 'rag-papers[server]'", model=self.name
            ) from error

        disable_progress_bar()  # type: ignore[no-untyped-call]
        return SentenceTransformer(str(self._files.path), device=None, local_files_only=True)
