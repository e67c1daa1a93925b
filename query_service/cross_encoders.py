"""Cross-encoders: models that read two texts together, by sentence-transformers, from files on this machine."""

import functools
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from query_service.stop import Stop
from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.models import ModelFiles, identity

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

CROSS_ENCODER = "cross-encoder:"
"""What stands before the name of a cross-encoder's model."""

_BATCH = 8  # pairs between two looks at the deadline


class CrossEncoderModel:
    """A cross-encoder. The library and the weights are loaded by the first pairs. Safe to use from several threads."""

    def __init__(self, files: ModelFiles) -> None:
        self.name = files.name
        self._files = files
        self._lock = threading.Lock()

    @functools.cached_property
    def identity(self) -> str:
        """Digest of the model's files."""
        return identity(self._files)

    @property
    def labels(self) -> Sequence[str]:
        """What each output stands for, by the model's configuration. Raises ModelUnavailable."""
        config: Any = self._model.config
        return [str(config.id2label[number]) for number in range(self._model.num_labels)]

    def outputs(self, pairs: Sequence[tuple[str, str]], stop: Stop) -> npt.NDArray[np.float64]:
        """What the model says of each pair, (len(pairs), labels), before any activation.

        What exceeds the model's window is left out. Raises ModelUnavailable and DeadlineExceeded.
        """
        # Pairs of like length together: a batch is padded to its longest one.
        order = sorted(range(len(pairs)), key=lambda number: sum(map(len, pairs[number])))
        outputs = np.empty((len(pairs), self._model.num_labels))
        for batch in _batches(order):
            stop.check()
            outputs[batch] = self._batch([pairs[number] for number in batch])
        return outputs

    def _batch(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        with self._lock:  # the tokenizer's padding is state of the model
            model = self._model
            from torch.nn import Identity

            outputs = model.predict(
                list(pairs), batch_size=len(pairs), activation_fn=Identity(), show_progress_bar=False
            )
        return np.asarray(outputs, np.float64).reshape(len(pairs), -1)

    @functools.cached_property
    def _model(self) -> "CrossEncoder":
        try:
            from sentence_transformers import CrossEncoder
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ModelUnavailable(
                f"sentence-transformers cannot be loaded ({error}): pip install 'rag-papers[server]'", model=self.name
            ) from error

        disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model: CrossEncoder = CrossEncoder(
                str(self._files.path), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        except Exception as error:  # of whatever kind the reader of the file in question raises
            raise ModelUnavailable(f"the model {self.name!r} cannot be loaded: {error}", model=self.name) from error
        return model


def _batches(order: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]
