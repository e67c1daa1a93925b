"""Front matter: a YAML mapping between two lines of dashes at the very beginning of a Markdown file."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

_LONGEST = 1 << 16
"""Characters; what is longer is no front matter. Bounds the time of the YAML parser."""

_BEGIN = re.compile(r"\ufeff?---[ \t]*\r?\n")
_END = re.compile(r"^(?:---|\.\.\.)[ \t]*\r?$\n?", re.MULTILINE)


def split(text: str) -> tuple[Mapping[str, Any], int]:
    """The fields of a file's front matter, and the character at which the rest begins; ({}, 0) if it has none.

    Every value is a string, a list or a mapping: YAML's own types, tags and dates are not interpreted.
    """
    begin = _BEGIN.match(text)
    end = _END.search(text, begin.end(), _LONGEST) if begin else None
    if not begin or not end:
        return {}, 0
    try:
        fields = yaml.load(text[begin.end() : end.start()], Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return {}, 0
    # Between two rules may also stand a paragraph of the paper.
    return (fields, end.end()) if isinstance(fields, dict) else ({}, 0)
