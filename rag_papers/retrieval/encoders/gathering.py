"""Concurrent calls of one encoder, encoded together."""

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag_papers.retrieval.encoders.base import Encoder, Prompts

_AT_ONCE = 32
"""Most texts of a run: bounds how long those wait that come while it lasts."""

_Vectors = npt.NDArray[np.float32]


class _Call:
    """One call: where its vectors go, how many are left to come, and what went wrong."""

    def __init__(self, count: int, dim: int) -> None:
        self.vectors = np.empty((count, dim), np.float32)
        self.left = count
        self.error: BaseException | None = None


class GatheringEncoder:
    """An encoder whose concurrent calls share its runs.

    Whoever finds it idle begins at once; the texts that come meanwhile make up the next run. So nobody waits for
    company, and a lone call costs what it costs without.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name = encoder.name
        self.identity = encoder.identity
        self.dim = encoder.dim
        self.max_tokens = encoder.max_tokens
        self._changed = threading.Condition()
        self._waiting: deque[tuple[_Call, int, str]] = deque()
        self._running = False

    @property
    def prompts(self) -> Prompts:
        """Those of the encoder."""
        return self._encoder.prompts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return self._encoder.count_tokens(texts)

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """The encoder's."""
        return self._encoder.batches(texts)

    def encode(self, texts: Sequence[str]) -> _Vectors:
        """(len(texts), dim), rows L2-normalised. An error of a run is that of every call with a text in it."""
        own = _Call(len(texts), self.dim)
        with self._changed:
            self._waiting.extend((own, row, text) for row, text in enumerate(texts))
        while self._is_my_turn(own):
            self._run()
        if own.error is not None:
            raise own.error
        return own.vectors

    def _is_my_turn(self, own: _Call) -> bool:
        """Waits until a call has all its vectors, which is False, or the encoder is idle, which it is not any more."""
        with self._changed:
            self._changed.wait_for(lambda: not own.left or not self._running)
            if own.left:
                self._running = True
            return own.left > 0

    def _run(self) -> None:
        """Encodes the texts that have waited longest."""
        with self._changed:
            run = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        error: BaseException | None = None
        vectors: Sequence[_Vectors] | _Vectors = [np.empty(0, np.float32)] * len(run)
        try:
            vectors = self._encoder.encode([text for _, _, text in run])
        except BaseException as failure:  # nobody may wait for ever for what this thread gave up
            error = failure
        with self._changed:
            for (call, row, _), vector in zip(run, vectors, strict=True):
                call.left -= 1
                call.error = call.error or error
                if error is None:
                    call.vectors[row] = vector
            self._running = False
            self._changed.notify_all()
