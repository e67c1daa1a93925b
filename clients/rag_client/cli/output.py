"""The shapes of what goes to stdout: JSON, tables and blocks of fields."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message


def to_json(message: "Message") -> str:
    """A message in protobuf JSON on one line: names as in the contract, fields without presence always there."""
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )


def print_json(message: "Message") -> None:
    """Prints a message as JSON."""
    click.echo(to_json(message))


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines."""
    for line in lines:
        click.echo(line)


def emit(message: "Message", lines: Iterable[str], *, as_json: bool) -> None:
    """Prints a message as JSON, or the lines that say the same to people."""
    if as_json:
        print_json(message)
    else:
        print_lines(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Iterator[str]:
    """Lines of a table, the columns named in `right` aligned to the right.

    Nothing is cut and nothing wrapped, however narrow the terminal: an id that is not whole is worth nothing.
    """
    from rich.cells import cell_len

    lines = [header, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = []
        for name, cell, width in zip(header, line, widths, strict=True):
            gap = " " * (width - cell_len(cell))
            cells.append(gap + cell if name in right else cell + gap)
        yield "  ".join(cells).rstrip()


def fields(pairs: Sequence[tuple[str, str]], indent: str = "  ") -> Iterator[str]:
    """Lines of "name: value", the values below each other; an empty name makes an empty line."""
    width = max(len(name) for name, _ in pairs) + 1
    for name, value in pairs:
        yield f"{indent}{name + ':':<{width}} {value}" if name else ""
