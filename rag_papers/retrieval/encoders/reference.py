"""The reference: sentence-transformers, whatever it supports."""

import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.encoders.base import FP32, IDENTITY_SUFFIXES, Prompts
from rag_papers.retrieval.encoders.batching import ROWS, by_length
from rag_papers.retrieval.encoders.configuration import Configuration
from rag_papers.retrieval.models import ModelFiles, identity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer


LARGE_ROWS = 256
"""Texts of a batch on a GPU, which small ones leave idle."""


class SentenceTransformerEncoder:
    """A sentence-transformers model. The library and the weights are loaded by the first `encode`."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "cpu",
        precision: str = FP32,
        half: bool = False,
        large_batches: bool = False,
    ) -> None:
        """`device` is torch's name of what computes.

        `precision` is that of the frozen form that it stands for: of any but fp32 it knows all but the vectors. `half`
        computes in 16 bits, which the identity does not tell: `gpu.on_gpu` sees to it that the vectors are the same.
        """
        self._device = device
        self._half = half
        self._rows = LARGE_ROWS if large_batches else ROWS
        self.name = files.name
        self.precision = precision
        """One of PRECISIONS."""
        self.files = files
        """The model."""
        self.configuration = Configuration(files)
        """What they say of it."""
        self._lock = threading.Lock()

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the model's files, and the precision where it is not fp32."""
        return identity(self.files) + IDENTITY_SUFFIXES[self.precision]

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.configuration.dim

    @property
    def prompts(self) -> Prompts:
        """The model's own."""
        return self.configuration.prompts

    @functools.cached_property
    def max_tokens(self) -> int:
        """The model's window, less the marks that it adds to each text."""
        return self.configuration.window - int(self._tokenizer.num_special_tokens_to_add(False))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Positions in `texts` in batches, the shortest texts first."""
        return by_length([len(text) for text in texts], self._rows)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised. Raises ModelUnavailable for a precision that is not fp32."""
        if self.precision != FP32:
            raise ModelUnavailable(
                f"the model {self.name!r} gives {self.precision} vectors in its frozen form alone, which is not there: "
                f"rag model prepare {self.name}",
                model=self.name,
            )
        with self._lock:  # the tokenizer's padding is state of the model
            vectors = self.model.encode(
                list(texts),
                prompt="",  # not the model's default one: it is in the texts
                convert_to_numpy=True,
                normalize_embeddings=True,
                show_progress_bar=False,
                batch_size=max(1, len(texts)),
            )
        made = np.asarray(vectors, np.float32).reshape(len(texts), self.dim)
        if self._half:  # lengths are off by as much as 16 bits are
            made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
        return made

    @functools.cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.files.path / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @functools.cached_property
    def model(self) -> "SentenceTransformer":
        """The model, loaded when it is asked for. Raises ModelUnavailable."""
        # Takes seconds, so not before a text needs it.
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelUnavailable(
                f"sentence-transformers cannot be loaded ({error}): pip install 'rag-papers[server]'", model=self.name
            ) from error

        disable_progress_bar()  # type: ignore[no-untyped-call]
        model = SentenceTransformer(str(self.files.path), device=self._device, local_files_only=True)
        return model.half() if self._half else model
