"""Text for people: what papers and services sent made harmless, and numbers made readable."""

import re
import shutil
import sys
import textwrap
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

# A paper is untrusted. An escape sequence in its title must not recolour, retitle or rewrite the reader's terminal.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # strings: titles, links
    r"|\x1b[ -/]*[0-~]"
)  # the rest
# Controls, and the marks that let text run against its reading order.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` on one line, without anything that a terminal would obey."""
    text = " ".join(_SEQUENCES.sub("", text).split())
    return _SURROGATES.sub("\ufffd", _UNSAFE.sub("", text))


def shorten(text: str, width: int) -> str:
    """`text` cleaned, and cut at a word if it has more than `width` characters."""
    text = clean(text)
    if len(text) <= width:
        return text
    head, space, _ = text[:width].rpartition(" ")
    return f"{head if space else text[: width - 1]}…"


def wrap(text: str, indent: str = "") -> str:
    """`text` indented; broken at words where a terminal would break it anywhere."""
    if not sys.stdout.isatty():
        return indent + text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def size(count: float) -> str:
    """Bytes as people write them: 156.2 KB."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KB", "MB", "GB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TB"


def duration(milliseconds: float) -> str:
    """A span of time in the unit that suits it."""
    span = milliseconds
    for unit, length in (("ms", 1000), ("s", 60), ("min", 60), ("h", 24)):
        text = f"{span:.3g}"
        if float(text) < length:
            return f"{text} {unit}"
        span /= length
    return f"{span:.3g} d"


def moment(timestamp: "Timestamp") -> str:
    """Local time to the second; "-" where there is none."""
    if not timestamp.seconds:
        return "-"
    return datetime.fromtimestamp(timestamp.seconds).strftime("%Y-%m-%d %H:%M:%S")


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many}"
