"""A run for people and for spreadsheets: Markdown and CSV."""

import csv
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_client.evaluation.answers import Row

_SHOWN_CHARS = 80
_MARKUP = re.compile(r"([\\`*_\[\]<>|])")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a question under a line of names; lists are joined by semicolons, what is unknown is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in dataclasses.fields(Row)])
        for row in rows:
            writer.writerow([";".join(value) if isinstance(value, tuple) else value for value in _values(row)])


def write_markdown(
    path: Path, summary: Mapping[str, Any], lines: Sequence[tuple[str, str]], rows: Sequence[Row]
) -> None:
    """The summary, in words of `lines`, and a table of the questions."""
    path.write_text("\n".join(_markdown(summary, lines, rows)) + "\n", encoding="utf-8")


def _markdown(summary: Mapping[str, Any], lines: Sequence[tuple[str, str]], rows: Sequence[Row]) -> Iterator[str]:
    yield f"# {summary['run']}\n"
    yield from _table(("", ""), lines)
    yield "\nSettings: `" + summary["config"] + "`\n"
    header = ("question", "status", "issues", "score", "keywords", "citation", "ms", "query")
    yield from _table(header, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    overlap = (
        "" if row.citation_overlap is None else f"sentence {row.citation_rank}" if row.citation_overlap else "none"
    )
    query = row.query if len(row.query) <= _SHOWN_CHARS else row.query[: _SHOWN_CHARS - 1] + "…"
    return (
        row.id,
        row.status + (f": {row.reason}" if row.reason else ""),
        ", ".join(row.issues),
        f"{row.score:.2f}",
        "" if row.keyword_recall is None else f"{row.keyword_recall:.2f}",
        overlap,
        f"{row.latency_ms:.0f}",
        query,
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(_plain, row))} |"


def _plain(cell: str) -> str:
    """On one line, and without a mark that would end the cell or begin markup of its own."""
    return _MARKUP.sub(r"\\\1", " ".join(cell.split()))


def _values(row: Row) -> list[Any]:
    return [getattr(row, field.name) for field in dataclasses.fields(Row)]
