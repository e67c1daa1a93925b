"""Rerankers: the retrieved passages to a better order, one module each."""

import logging
import threading
from collections.abc import Mapping

from query_service.cross_encoders import CROSS_ENCODER
from query_service.rerankers.base import Reranker
from query_service.rerankers.best_sentence import BestSentence
from query_service.rerankers.cross_encoder import CrossEncoderReranker
from query_service.rerankers.fused import FusedOrder
from rag_papers.retrieval.models import locate

logger = logging.getLogger(__name__)

NO_RERANKER: Reranker = FusedOrder()
"""Leaves the order as it is, in no time."""
BUILT_IN: Mapping[str, Reranker] = {"best-sentence": BestSentence(), "none": NO_RERANKER}
"""The rerankers that need no model of their own, by name."""
NAMES = (*BUILT_IN, f"{CROSS_ENCODER}MODEL")
"""The names that a request may give, as people read them."""

_MAX_OPEN = 2  # a request names any model on this machine, and each takes up memory


def is_reranker(name: str) -> bool:
    """Whether `name` can be that of a reranker; whether its model is here is another question."""
    return name in BUILT_IN or (name.startswith(CROSS_ENCODER) and name != CROSS_ENCODER)


class Rerankers:
    """The rerankers by name; the cross-encoders used last stay open. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, CrossEncoderReranker] = {}

    def of(self, name: str) -> Reranker:
        """The reranker of a valid name; nothing is ever downloaded. Raises ModelUnavailable."""
        return BUILT_IN[name] if name in BUILT_IN else self._cross_encoder(name)

    def known(self, name: str) -> Reranker | None:
        """The reranker of a valid name, if nothing has to be opened or read to know it and its identity."""
        return BUILT_IN.get(name) or self._opened.get(name)

    def warm(self, name: str) -> None:
        """Loads what the first question would have to wait for. Raises ModelUnavailable."""
        if name not in BUILT_IN:
            self._cross_encoder(name).load()
            logger.info("reranker %s is loaded", name)

    def _cross_encoder(self, name: str) -> CrossEncoderReranker:
        with self._lock:
            reranker = self._opened.pop(name, None) or CrossEncoderReranker(
                locate(name.removeprefix(CROSS_ENCODER), download=False, kind="reranking")
            )
            _ = reranker.identity  # reads the model's files the first time, which `known` must not
            self._opened[name] = reranker
            while len(self._opened) > _MAX_OPEN:
                del self._opened[next(iter(self._opened))]
            return reranker
