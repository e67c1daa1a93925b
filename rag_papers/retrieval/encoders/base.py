"""What an encoder is."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

FP32, INT8 = PRECISIONS = ("fp32", "int8")
"""What weights are held in and computed with. int8: weights and what they are multiplied with in eight bits, faster and
less exact; computed by frozen models alone."""


IDENTITY_SUFFIXES = {FP32: "", INT8: f"-{INT8}-2"}
"""What a precision adds to a model's identity: changed whenever its vectors change by more than the last bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompts:
    """What a model was trained to find before its texts. Whoever embeds a text puts the one that fits before it."""

    query: str = ""
    """Before what is searched with."""
    passage: str = ""
    """Before what is found."""


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

    @property
    def prompts(self) -> Prompts:
        """What belongs before the texts; `encode` and `count_tokens` take texts as they are and add nothing."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, marks of the model's own not counted."""

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Positions in `texts`, each once, in groups that are best encoded together, the cheapest first."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised. Safe to call from several threads."""
