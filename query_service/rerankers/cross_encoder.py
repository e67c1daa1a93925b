"""Cross-encoders: models that read the question and a passage together. Slower than all else here, and better."""

import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from query_service.rerankers.base import Retrieved
from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.models import ModelFiles, identity

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BATCH = 8  # pairs between two looks at the deadline


class CrossEncoderReranker:
    """A sentence-transformers cross-encoder. The library and the weights are loaded by the first passages."""

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._lock = threading.Lock()

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the model's files."""
        return f"cross-encoder-1-{identity(self._files)}"

    def scores(self, retrieved: Retrieved) -> Sequence[float]:
        """The sigmoid of the model's output for question and passage: title, section and text, a line each.

        What exceeds the model's window is left out. Raises ModelUnavailable and DeadlineExceeded.
        """
        texts = [
            "\n".join(filter(None, (passage.record.title, passage.record.section, passage.record.text)))
            for passage in retrieved.passages
        ]
        # Texts of like length together: a batch is padded to its longest text.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        outputs = np.empty(len(texts))
        for start in range(0, len(order), _BATCH):
            retrieved.stop.check()
            batch = order[start : start + _BATCH]
            outputs[batch] = self._outputs([(retrieved.question.text, texts[number]) for number in batch])
        return [float(score) for score in 0.5 + 0.5 * np.tanh(outputs / 2)]  # the sigmoid, without overflow

    def load(self) -> None:
        """Loads the model, which the first passages would have to wait for. Raises ModelUnavailable."""
        self._outputs([("warm", "warm")])

    def _outputs(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        with self._lock:  # the tokenizer's padding is state of the model
            model = self._model
            from torch.nn import Identity

            outputs = model.predict(
                list(pairs), batch_size=len(pairs), activation_fn=Identity(), show_progress_bar=False
            )
        return np.asarray(outputs, np.float64)

    @functools.cached_property
    def _model(self) -> "CrossEncoder":
        name = self._files.name
        try:
            from sentence_transformers import CrossEncoder
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelUnavailable(
                f"sentence-transformers cannot be loaded ({error}): pip install 'rag-papers[server]'", model=name
            ) from error

        disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model: CrossEncoder = CrossEncoder(
                str(self._files.path), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        except Exception as error:  # of whatever kind the reader of the file in question raises
            raise ModelUnavailable(f"the model {name!r} cannot be loaded: {error}", model=name) from error
        if model.num_labels != 1:
            raise ModelUnavailable(
                f"the model {name!r} has {model.num_labels} outputs where a reranker has one: name another", model=name
            )
        return model
