"""Bytes to characters: UTF-8, what a byte order mark names, else what the bytes themselves make likely."""

import codecs
import dataclasses
import unicodedata

from charset_normalizer import from_bytes

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 1 << 16
_LEAST = 64
"""Bytes; of fewer nobody can tell the encoding."""
_MOST_CHAOS = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoded:
    """A text and how it was read."""

    text: str
    guessed: str
    """The encoding if nothing but the bytes themselves told it; else empty."""


def decode(data: bytes, declared: str = "") -> Decoded | None:
    """`data` as text; None if it is no text, or nobody can tell which. `declared` is what the format says of itself.

    A byte order mark of UTF-16 or UTF-32 is left out, one of UTF-8 stays a character of the text.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _read(data, name)
    if (read := _read(data, "utf-8")) is not None:
        return read
    if declared:
        return _read(data, declared)
    if len(data) < _LEAST:
        return None
    best = from_bytes(data[:_SAMPLE]).best()
    if best is None or best.chaos > _MOST_CHAOS:
        return None
    read = _read(data, best.encoding)
    if read is None or any(
        unicodedata.category(character) in ("Cn", "Co") or _is_control(character) for character in read.text
    ):
        return None
    return dataclasses.replace(read, guessed=best.encoding)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\t\n\v\f\r\x1c\x1d\x1e\x85"


def _read(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(text=data.decode(encoding), guessed="")
    except (UnicodeDecodeError, LookupError):
        return None
