"""The canonical encoding, against a decoder: what can be decoded unambiguously shares its bytes with nothing else."""

import operator
import struct
import unicodedata
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rag_papers.persist.hashing import encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
bounded = settings(deadline=None, max_examples=150)


by_name = operator.itemgetter(0)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def meaning(value: Any) -> Any:
    """`value` with its types spelled out, as 1 == 1.0 == True in Python, and equal where keys may be equal."""
    match value:
        case str():
            return ("str", nfc(value))
        case float():
            return ("float", struct.pack(">d", value + 0.0))
        case list() | tuple():
            return ("list", [meaning(item) for item in value])
        case dict():
            return ("map", sorted(((nfc(name), meaning(item)) for name, item in value.items()), key=by_name))
        case _:
            return (type(value).__name__, value)


def decode(data: bytes) -> tuple[Any, bytes]:
    """The meaning of the first item in `data`, and what follows it."""
    tag, data = data[:1], data[1:]
    match tag:
        case b"N":
            return ("NoneType", None), data
        case b"T" | b"F":
            return ("bool", tag == b"T"), data
        case b"f":
            return ("float", data[:8]), data[8:]
    size = int.from_bytes(data[:8])
    body, rest = data[8 : 8 + size], data[8 + size :]
    match tag:
        case b"i":
            return ("int", int(body)), rest
        case b"s":
            return ("str", body.decode("utf-8", "surrogatepass")), rest
        case b"b":
            return ("bytes", body), rest
    items = []
    while body:
        item, body = decode(body)
        items.append(item)
    if tag == b"l":
        return ("list", items), rest
    assert tag == b"m"
    names = [name for kind, name in items[::2] if kind == "str"]
    return ("map", sorted(zip(names, items[1::2], strict=True), key=by_name)), rest


def normal_names(value: Any) -> bool:
    """Whether no mapping in `value` has two names that normalisation makes one."""
    if isinstance(value, dict):
        return len({nfc(name) for name in value}) == len(value) and all(map(normal_names, value.values()))
    return all(map(normal_names, value)) if isinstance(value, list | tuple) else True


@bounded
@given(values)
def test_an_encoding_has_one_meaning(value: Any) -> None:
    assume(normal_names(value))
    assert decode(encode(value)) == (meaning(value), b"")


@bounded
@given(values, values)
def test_values_share_an_encoding_only_if_they_mean_the_same(one: Any, other: Any) -> None:
    assume(normal_names(one) and normal_names(other))
    assert (encode(one) == encode(other)) == (meaning(one) == meaning(other))


@bounded
@given(st.dictionaries(st.text(max_size=4), values, max_size=6), st.randoms())
def test_the_order_of_a_mapping_does_not_matter(mapping: dict[str, Any], random: Any) -> None:
    assume(normal_names(mapping))
    items = list(mapping.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(mapping)


@bounded
@given(st.text())
def test_spellings_of_one_text_are_one(text: str) -> None:
    assert encode(unicodedata.normalize("NFD", text)) == encode(unicodedata.normalize("NFC", text)) == encode(text)
