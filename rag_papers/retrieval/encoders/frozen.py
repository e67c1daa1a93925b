"""A frozen model: onnxruntime, tokenizers and numpy, and nothing of the libraries that the model was made with."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.cores import cores
from rag_papers.retrieval.encoders.base import Prompts
from rag_papers.retrieval.encoders.batching import TOKENS, by_tokens, of_equal_length
from rag_papers.retrieval.encoders.huge_pages import in_huge_pages

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

GRAPH = "model.onnx"
"""From input_ids, int64 (rows, tokens), to float32 (rows, dim), L2-normalised."""
WEIGHTS = "model.weights"
"""Numbers of the graph, which names their places: mapped into memory, so that those that no text needs stay on disk."""
TOKENIZER = "tokenizer.json"
"""The model's own."""
SETTINGS = "config.json"
"""FrozenSettings."""

LARGE_SHARE = 16
"""Batches that a thread has of a group of many texts: of fewer, some would wait long for the last one."""
_MANY_TEXTS = 8
"""From so many on texts are tokenised by several threads: waking them takes longer than a few texts take."""
_LEAST_TOKENS = 64
"""A batch is not divided further: reading the weights takes as long as computing with them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenSettings:
    """What the files of a frozen model do not say by themselves."""

    dim: int
    """Length of a vector."""
    window: int
    """Most tokens of a text, marks of the model's own counted; what is behind them is left out."""
    query_prompt: str
    passage_prompt: str
    alone: bool = False
    """Every text is computed by itself: one scale holds for all numbers of a batch, and would for its other texts."""

    def write(self, directory: Path) -> None:
        """Writes SETTINGS."""
        (directory / SETTINGS).write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, directory: Path) -> "FrozenSettings":
        """Reads SETTINGS."""
        return cls(**json.loads((directory / SETTINGS).read_text()))


class FrozenEncoder:
    """The encoder in a directory whose files have been verified. Loaded by the first `encode`.

    A text's vector is a function of the text alone, byte for byte on one machine: batches hold texts of one length, so
    that nothing is padded, and what a row of a matrix product comes to does not depend on the rows beside it, nor on
    threads.
    """

    def __init__(
        self, directory: Path, *, name: str, identity: str, share: int = 1, at_once: int | None = None
    ) -> None:
        """`at_once` batches are computed at a time, by a thread each; by default as many as there are cores. `batches`
        gives each of these threads a `share` of batches.
        """
        self.name = name
        self.identity = identity
        self._directory = directory
        self._at_once = at_once or cores()
        self._group = share * self._at_once * TOKENS
        self._settings = FrozenSettings.read(directory)
        self.dim = self._settings.dim
        self.prompts = Prompts(query=self._settings.query_prompt, passage=self._settings.passage_prompt)

    @functools.cached_property
    def max_tokens(self) -> int:
        """The model's window, less the marks that it adds to each text."""
        return self._settings.window - int(self._tokenizer.num_special_tokens_to_add(False))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encoding.ids) for encoding in self._encodings(texts, marked=False)]

    def batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Positions in `texts` in groups of similar length, the shortest texts first."""
        if len(texts) == 1:
            return [[0]]
        return by_tokens([len(ids) for ids in self._tokenize(texts)], self._group)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised; a text that occurs twice is computed once."""
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        tokens = self._tokenize(list(rows))
        vectors = np.zeros((len(rows), self.dim), np.float32)
        session = self._session  # loaded here, once, for all threads

        def compute(batch: Sequence[int]) -> None:
            ids = np.array([tokens[row] for row in batch], np.int64)
            if ids.size:  # of nothing, in a model that adds no marks, there is nothing to compute
                vectors[batch] = session.run(None, {"input_ids": ids})[0]

        lengths = [len(ids) for ids in tokens]
        share = max(_LEAST_TOKENS, sum(lengths) // self._at_once)  # so that few texts are shared out too
        batches = of_equal_length(lengths, 1 if self._settings.alone else min(TOKENS, share))
        if self._at_once > 1 and len(batches) > 1:
            list(self._threads.map(compute, reversed(batches)))  # the longest first: the threads end together
        else:
            for batch in batches:
                compute(batch)
        return vectors[[rows[text] for text in texts]]

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        whole = [encoding.ids for encoding in self._encodings(texts, marked=True)]
        return [
            ids if len(ids) <= self._settings.window else self._cutting_tokenizer.encode(text).ids
            for text, ids in zip(texts, whole, strict=True)
        ]

    def _encodings(self, texts: Sequence[str], marked: bool) -> "Sequence[Encoding]":
        if len(texts) < _MANY_TEXTS:
            return [self._tokenizer.encode(text, add_special_tokens=marked) for text in texts]
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=marked)

    @functools.cached_property
    def _tokenizer(self) -> "Tokenizer":
        return self._load_tokenizer()

    @functools.cached_property
    def _cutting_tokenizer(self) -> "Tokenizer":
        """What cuts a text at the window, and leaves the model's marks around it."""
        tokenizer = self._load_tokenizer()
        tokenizer.enable_truncation(self._settings.window)
        return tokenizer

    def _load_tokenizer(self) -> "Tokenizer":
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise self._not_loadable(error) from error
        tokenizer = Tokenizer.from_file(str(self._directory / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._at_once, thread_name_prefix="encoding")

    @functools.cached_property
    def _session(self) -> "InferenceSession":
        try:
            from onnxruntime import InferenceSession, SessionOptions
        except ImportError as error:
            raise self._not_loadable(error) from error
        options = SessionOptions()
        # Threads that share a batch wait for each other at every step. For a query they would have to be woken besides,
        # which takes longer than its steps, and a virtual machine tends to wake them on the core that waits for them.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # one would be kept for every shape that a batch ever had
        with in_huge_pages():
            return InferenceSession(str(self._directory / GRAPH), options, providers=["CPUExecutionProvider"])

    def _not_loadable(self, error: ImportError) -> ModelUnavailable:
        return ModelUnavailable(
            f"the model {self.name!r} cannot be loaded ({error}): pip install 'rag-papers[query]'", model=self.name
        )
