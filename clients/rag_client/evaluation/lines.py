"""Files of JSON lines: every object with its place, so that a bad line can be named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_papers.errors import InvalidRequest


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON lines file, each with its place, "queries.jsonl:17"."""
    for place, line in read_lines(path):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{place}: it is not JSON") from error
        if not isinstance(fields, dict):
            raise InvalidRequest(f"{place}: it is no JSON object")
        yield place, fields


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line that is not blank, with its place."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                place = f"{path}:{number}"
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise InvalidRequest(f"{place}: it is not UTF-8") from error
                if text.strip():
                    yield place, text
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}") from error


def text(place: str, fields: dict[str, Any], name: str) -> str:
    """A field that must hold text."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f'{place}: it has no "{name}"')
    return value


def identifier(place: str, fields: dict[str, Any], name: str) -> str:
    """The field that identifies an object: text, or a whole number as text."""
    value = fields.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(place, fields, name)
