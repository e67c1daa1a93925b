"""Cross-encoders that read the question and a passage together. Slower than all else here, and better."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query_service.cross_encoders import CrossEncoderModel
from query_service.rerankers.base import Retrieved
from query_service.stop import Stop
from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.models import ModelFiles


class CrossEncoderReranker:
    """A cross-encoder with one output."""

    def __init__(self, files: ModelFiles) -> None:
        self._model = CrossEncoderModel(files)

    @property
    def identity(self) -> str:
        """Digest of the model's files."""
        return f"cross-encoder-1-{self._model.identity}"

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        """The sigmoid of the model's output for question and passage: title, section and text, a line each.

        What exceeds the model's window is left out. Raises ModelUnavailable and DeadlineExceeded.
        """
        texts = [
            "\n".join(filter(None, (passage.record.title, passage.record.section, passage.record.text)))
            for passage in retrieved.passages
        ]
        outputs = self._outputs([(retrieved.question.text, text) for text in texts], retrieved.stop)
        return [float(score) for score in 0.5 + 0.5 * np.tanh(outputs / 2)]  # the sigmoid, without overflow

    def load(self) -> None:
        """Loads the model, which the first passages would have to wait for. Raises ModelUnavailable."""
        self._outputs([("warm", "warm")], Stop())

    def _outputs(self, pairs: Sequence[tuple[str, str]], stop: Stop) -> npt.NDArray[np.float64]:
        outputs = self._model.outputs(pairs, stop)
        if outputs.shape[1] != 1:
            name = self._model.name
            raise ModelUnavailable(
                f"the model {name!r} has {outputs.shape[1]} outputs where a reranker has one: name another", model=name
            )
        return outputs[:, 0]
