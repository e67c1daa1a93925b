import hashlib
import math
from pathlib import Path
from typing import Any

import pytest

from rag_papers.persist.hashing import digest, encode, file_sha256

LOOKALIKES = [
    None,
    False,
    0,
    0.0,
    "",
    b"",
    [],
    {},
    "0",
    b"0",
    [[]],
    [None],
    [""],
    {"": ""},
    "None",
    "[]",
    1,
    True,
    1.0,
    "1",
    {"a": 1},
    '{"a":1}',
    ["a", 1],
    {"a": 1.0},
    {"a": "1"},
    ["a", "b"],
    ["ab"],
    b"a",
    "a",
]


def test_lookalikes_differ() -> None:
    assert len({encode(value) for value in LOOKALIKES}) == len(LOOKALIKES)


def test_boundaries_between_items_count() -> None:
    assert encode(["ab", "c"]) != encode(["a", "bc"]) != encode([["a"], "bc"])
    assert encode({"a": "bc"}) != encode({"ab": "c"})


def test_a_tuple_is_a_list_and_minus_zero_is_zero() -> None:
    assert encode((1, (2,))) == encode([1, [2]])
    assert encode(-0.0) == encode(0.0)


def test_unicode_is_normalised_at_every_level() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert encode({composed: [composed, {"x": (composed,)}]}) == encode(
        {decomposed: [decomposed, {"x": (decomposed,)}]}
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"weights": [1.0, (x,)]}])
def test_numbers_that_are_none_are_refused_at_every_level(number: float, wrap: Any) -> None:
    with pytest.raises(ValueError, match="has no place in a key"):
        encode(wrap(number))


@pytest.mark.parametrize("value", [{1}, object(), {1: "a"}.keys(), 1j, bytearray(b"x")])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="has no canonical encoding"):
        encode([value])


def test_names_that_normalisation_makes_one_are_refused() -> None:
    with pytest.raises(ValueError, match="same after Unicode normalisation"):
        encode({"caf\u00e9": 1, "cafe\u0301": 2})


def test_a_digest_has_32_bytes_and_never_changes() -> None:
    # Stored keys depend on it: another value here means that every cache is lost.
    assert digest(["answer", 1, 0.5, None, True, {"b": b"x", "a": "é"}]).hex() == (
        "fb1762b3978eeb5910558da4b8a889dbdae543b6e22eecae95df26e73c6b8283"
    )


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"papers" * 100_000)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"papers" * 100_000).hexdigest()
