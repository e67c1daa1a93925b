"""Digests of values and files.

A value is encoded canonically before it is hashed: every item carries its type and its length, so that different values
never share an encoding (1, 1.0, "1" and True; [] and "[]"). Strings are brought to Unicode NFC, so that composed and
decomposed spellings are one.
"""

import hashlib
import itertools
import math
import struct
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Canonical: TypeAlias = (
    "bool | int | float | str | bytes | list[Canonical] | tuple[Canonical, ...] | Mapping[str, Canonical] | None"
)
"""What has a canonical encoding."""


def encode(value: Canonical) -> bytes:
    """The canonical bytes of `value`. Raises ValueError for NaN and infinities, TypeError for other types."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"T" if value else b"F"
        case int():
            return _sized(b"i", str(value).encode())
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} has no place in a key")
            return b"f" + struct.pack(">d", value + 0.0)  # adding 0.0 turns -0.0, which equals 0.0, into it
        case str():
            return _sized(b"s", unicodedata.normalize("NFC", value).encode("utf-8", "surrogatepass"))
        case bytes():
            return _sized(b"b", value)
        case list() | tuple():
            return _sized(b"l", b"".join(encode(item) for item in value))
        case Mapping():
            # NFC may make two names one; then the later would hide the earlier.
            pairs = sorted((encode(name), encode(item)) for name, item in value.items())
            if any(first[0] == second[0] for first, second in itertools.pairwise(pairs)):
                raise ValueError("two names of a mapping are the same after Unicode normalisation")
            return _sized(b"m", b"".join(name + item for name, item in pairs))
    raise TypeError(f"{type(value).__name__} has no canonical encoding")


def _sized(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">Q", len(body)) + body


def digest(value: Canonical) -> bytes:
    """BLAKE2b-256 of the canonical bytes of `value`, 32 bytes."""
    return hashlib.blake2b(encode(value), digest_size=32).digest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
