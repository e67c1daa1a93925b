"""When, by whom and under which DOI a paper appeared, from what formats say about it in fields of their own."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

_YEAR = re.compile(r"(?<![0-9])([1-9][0-9]{3})(?:[0-9]{4})?(?![0-9])")  # alone, in a date, or before month and day
_DOI = re.compile(r"(?:(?:https?://)?(?:dx\.)?doi\.org/|doi:\s*)?(10\.[0-9]{4,9}/\S+)", re.IGNORECASE)
_BARE_DOI = re.compile(r"\b(10\.[0-9]{4,9}/[^\s,;]*[^\W_])")
_CALLED_DOI = re.compile(r"(?:\bdoi:?\s*|doi\.org/)" + _BARE_DOI.pattern, re.IGNORECASE)
_BETWEEN_AUTHORS = re.compile(r";|\s+and\s+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bibliography:
    """What is known of a paper besides its title and text."""

    year: int = 0
    """Of publication, 1000 to 9999; 0: unknown."""
    authors: tuple[str, ...] = ()
    """Names as the paper has them, in its order; empty: unknown."""
    doi: str = ""
    """Without a resolver before it, "10.1000/182"; empty: unknown."""


UNKNOWN = Bibliography()
"""What is known of a paper whose format says nothing."""


def bibliography(*sources: Mapping[str, Any]) -> Bibliography:
    """What the fields of `sources` say; of several that can be read, the first of the first source.

    Fields are known whatever their case: `year`, `date`, `publish_time`; `authors`, `author`; `doi`. A field that
    cannot be read is as good as none: no paper is refused for its metadata.
    """
    fields = [{str(name).lower(): value for name, value in source.items()} for source in sources]

    def values(*names: str) -> Iterator[Any]:
        return (source[name] for source in fields for name in names if name in source)

    return Bibliography(
        year=next(filter(None, map(_year, values("year", "date", "publish_time"))), 0),
        authors=next(filter(None, map(_authors, values("authors", "author"))), ()),
        doi=next(filter(None, map(_doi, values("doi"))), ""),
    )


def line(value: Any) -> str:
    """A value as text on one line; empty if it is no text, or none that can be stored."""
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return ""
    return " ".join(value.split())


def doi_in(text: str) -> str:
    """The first DOI in a text, one that is called so before others; empty if there is none."""
    found = _CALLED_DOI.search(text) or _BARE_DOI.search(text)
    return found[1].rstrip(".,;:)]}>\"'") if found else ""


def year_in(pattern: re.Pattern[str], text: str) -> str:
    """The first group of the first match of `pattern` in a text; empty without one."""
    found = pattern.search(text)
    return found[1] if found else ""


def _year(value: Any) -> int:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        value = str(int(value))
    found = _YEAR.search(line(value))
    return int(found[1]) if found else 0


def _authors(value: Any) -> tuple[str, ...]:
    # Commas stand within names as well as between them ("Kingma, D., and Ba, J."), so they divide nothing.
    names = _BETWEEN_AUTHORS.split(line(value)) if isinstance(value, str) else value
    return tuple(filter(None, map(_name, names))) if isinstance(names, list) else ()


def _name(author: Any) -> str:
    if isinstance(author, Mapping):
        whole = line(author.get("name"))
        parts = (line(author.get(part)) for part in ("given", "first", "family", "last"))
        return whole or " ".join(filter(None, parts))
    return line(author).strip(" ,")


def _doi(value: Any) -> str:
    found = _DOI.fullmatch(line(value))
    return found[1] if found else ""
