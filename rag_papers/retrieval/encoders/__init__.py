"""Encoders: text to vectors."""

import re

from rag_papers.retrieval.encoders.base import FP32, IDENTITY_SUFFIXES, INT8, PRECISIONS, Encoder, Prompts
from rag_papers.retrieval.encoders.hashing import HashingEncoder
from rag_papers.retrieval.encoders.reference import SentenceTransformerEncoder
from rag_papers.retrieval.models import locate

__all__ = [
    "FP32",
    "IDENTITY_SUFFIXES",
    "INT8",
    "PRECISIONS",
    "Encoder",
    "HashingEncoder",
    "Prompts",
    "SentenceTransformerEncoder",
    "is_built_in",
    "open_encoder",
]


_BUILT_IN = re.compile(r"hashing-(\d{1,4})")


def is_built_in(name: str) -> bool:
    """Whether an encoder of this name needs no model."""
    return _BUILT_IN.fullmatch(name) is not None


def open_encoder(
    name: str, *, download: bool = False, precision: str = FP32
) -> HashingEncoder | SentenceTransformerEncoder:
    """The encoder of a model name, a model's as sentence-transformers computes it; a built-in one has one precision.

    Raises ModelUnavailable; `download` allows the Hugging Face hub to be asked.
    """
    if match := _BUILT_IN.fullmatch(name):
        return HashingEncoder(max(1, int(match[1])))
    return SentenceTransformerEncoder(locate(name, download=download), precision=precision)
