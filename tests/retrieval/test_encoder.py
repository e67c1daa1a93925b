import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.cores import cores
from rag_papers.retrieval.encoders import HashingEncoder, open_encoder
from rag_papers.retrieval.encoders.batching import by_length, by_tokens, of_equal_length

TEXTS = ["Attention is all you need.", "深度学习", "", "the", "café " * 1000, "\ud800"]

PRINT_DIGEST = """
import hashlib, sys
from rag_papers.retrieval.encoders import open_encoder

texts = ["Attention is all you need.", "\\u6df1\\u5ea6\\u5b66\\u4e60", "", "the"]
print(hashlib.sha256(open_encoder("hashing-64").encode(texts).tobytes()).hexdigest())
"""


def test_rows_have_unit_length() -> None:
    vectors = HashingEncoder(32).encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_vectors_are_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(digests) == 1


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    encoder = HashingEncoder(16)
    np.testing.assert_array_equal(encoder.encode(TEXTS), np.concatenate([encoder.encode([text]) for text in TEXTS]))


def test_terms_that_cancel_each_other_out_still_have_a_direction() -> None:
    encoder = HashingEncoder(1)
    vectors = encoder.encode([f"word{one} word{other}" for one in range(8) for other in range(8)])
    np.testing.assert_array_equal(np.abs(vectors), 1)


def test_texts_that_share_words_are_closer() -> None:
    attention, transformer, banana = HashingEncoder(256).encode(
        ["attention in the transformer", "the transformer uses attention", "a banana is yellow"]
    )
    assert attention @ transformer > attention @ banana


def test_no_texts_have_no_vectors() -> None:
    assert HashingEncoder(16).encode([]).shape == (0, 16)


def test_names_and_identities_tell_dimensions_apart() -> None:
    encoder = open_encoder("hashing-64")
    assert (encoder.name, encoder.dim, encoder.max_tokens) == ("hashing-64", 64, 256)
    assert encoder.identity != open_encoder("hashing-128").identity
    assert encoder.count_tokens(["one two  three", ""]) == [3, 0]


@pytest.mark.parametrize("name", ["hashing-", "hashing-x", "hashing-12345", "xhashing-64", "hashing-64\n"])
def test_other_names_are_looked_up_as_models(name: str) -> None:
    with pytest.raises(ModelUnavailable):
        open_encoder(name)


class TestBatches:
    LENGTHS = (3, 9, 3, 1, 0, 9, 3, 40)

    def test_of_equal_length_hold_one_length_and_no_more_tokens_than_fit(self) -> None:
        assert of_equal_length(self.LENGTHS, 9) == [[4], [3], [0, 2, 6], [1], [5], [7]]
        assert of_equal_length(self.LENGTHS, 1) == [[4], [3], [0], [2], [6], [1], [5], [7]]

    def test_by_tokens_are_as_full_as_they_may_be(self) -> None:
        assert by_tokens(self.LENGTHS, 10) == [[4, 3, 0, 2, 6], [1], [5], [7]]
        assert by_tokens(self.LENGTHS, 1000) == [[4, 3, 0, 2, 6, 1, 5, 7]]

    def test_by_length_count_texts(self) -> None:
        assert by_length(self.LENGTHS, 3) == [[4, 3, 0], [2, 6, 1], [5, 7]]
        assert by_length([], 3) == by_tokens([]) == of_equal_length([]) == []


@pytest.mark.parametrize(
    ("quota", "most"),
    [("100000 100000", 1), ("20000 100000", 1), ("150000 100000", 2), ("max 100000", 4096), ("", 4096)],
)
def test_no_more_cores_are_used_than_a_container_has_the_time_of(tmp_path: Path, quota: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    seen = len(os.sched_getaffinity(0))
    assert cores(tmp_path / "cpu.max") == min(seen, most)
    assert cores(tmp_path / "absent") == seen
