"""Encoders: text to vectors."""

import re

from rag_papers.retrieval.encoders.base import Encoder, Prompts
from rag_papers.retrieval.encoders.hashing import HashingEncoder
from rag_papers.retrieval.encoders.reference import SentenceTransformerEncoder
from rag_papers.retrieval.models import locate

__all__ = ["Encoder", "HashingEncoder", "Prompts", "SentenceTransformerEncoder", "open_encoder"]


def open_encoder(name: str, *, download: bool = False) -> HashingEncoder | SentenceTransformerEncoder:
    """The encoder of a model name, a model's as sentence-transformers computes it.

    Raises ModelUnavailable; `download` allows the Hugging Face hub to be asked.
    """
    if match := re.fullmatch(r"hashing-(\d{1,4})", name):
        return HashingEncoder(max(1, int(match[1])))
    return SentenceTransformerEncoder(locate(name, download=download))
