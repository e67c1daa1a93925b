"""Entailment by name: a cross-encoder that says whether a text entails or contradicts a claim.

With one at hand a clash between an answer and its sources is a verdict; without, the rules can only warn of it.
"""

import dataclasses
import logging
import threading
from collections.abc import Sequence

import numpy as np

from query_service.cross_encoders import CROSS_ENCODER, CrossEncoderModel
from query_service.stop import Stop
from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.models import locate

logger = logging.getLogger(__name__)

NONE = "none"
"""The name that stands for no model."""


class EntailmentModel:
    """A natural language inference model. Safe to use from several threads."""

    def __init__(self, model: CrossEncoderModel) -> None:
        self._model = model

    @property
    def identity(self) -> str:
        """Digest of the model's files."""
        return f"entailment-1-{self._model.identity}"

    def judge(self, pairs: Sequence[tuple[str, str]], stop: Stop) -> Sequence[tuple[float, float]]:
        """For each (text, claim) the probabilities in [0, 1] that the text entails and contradicts the claim.

        The softmax of the model's outputs. What exceeds the model's window is left out. Raises ModelUnavailable and
        DeadlineExceeded.
        """
        entailed, contradicted = self._place("entail"), self._place("contradict")
        outputs = self._model.outputs(pairs, stop)
        weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        return [(float(row[entailed]), float(row[contradicted])) for row in shares]

    def for_call(self, stop: Stop) -> "EntailmentOfCall":
        """The model as it works for one call."""
        return EntailmentOfCall(model=self, stop=stop)

    def load(self) -> None:
        """Loads the model, which the first answer would have to wait for. Raises ModelUnavailable."""
        self.judge([("warm", "warm")], Stop())

    def _place(self, beginning: str) -> int:
        labels = self._model.labels
        for number, label in enumerate(labels):
            if label.lower().startswith(beginning):
                return number
        raise ModelUnavailable(
            f"the model {self._model.name!r} has the labels {', '.join(labels)} where one of entailment has "
            "entailment and contradiction: name another",
            model=self._model.name,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntailmentOfCall:
    """What the verifier asks."""

    model: EntailmentModel
    stop: Stop

    def judge(self, pairs: Sequence[tuple[str, str]], /) -> Sequence[tuple[float, float]]:
        """As the model's."""
        return self.model.judge(pairs, self.stop)


class EntailmentByName:
    """The model that the service's setting names, if it names one."""

    def __init__(self, name: str) -> None:
        """`name` is "none", or "cross-encoder:" and the name or directory of a model."""
        self._name = name
        self._lock = threading.Lock()
        self._model: EntailmentModel | None = None

    def model(self) -> EntailmentModel | None:
        """The model, opened by the first who asks for it; nothing is ever downloaded. Raises ModelUnavailable."""
        if self._name == NONE:
            return None
        with self._lock:
            if self._model is None:
                files = locate(self._name.removeprefix(CROSS_ENCODER), download=False, kind="entailment")
                model = EntailmentModel(CrossEncoderModel(files))
                logger.info("the entailment model is %s, %s", self._name, model.identity)
                self._model = model
            return self._model

    @property
    def is_known(self) -> bool:
        """Whether nothing has to be opened to know `model`."""
        return self._name == NONE or self._model is not None

    def warm(self) -> None:
        """Loads what the first answer would have to wait for. Raises ModelUnavailable."""
        if model := self.model():
            model.load()
            logger.info("the entailment model %s is loaded", self._name)
