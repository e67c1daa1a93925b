"""Starting the command line: what it offers, and what it does not load."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from rag_client.cli import main
from rag_client.cli.command import Command, Group
from rag_client.cli.text import clean, duration, shorten, size
from rag_papers import __version__


def test_version(rag):
    assert rag("--version").stdout == f"rag {__version__}\n"


@pytest.mark.parametrize("module", ["rag_client", "rag_client.cli", "rag_client.cli.seed"])
def test_help_loads_neither_grpc_nor_protobuf_nor_rich(module):
    program = (
        f"import sys, {module}; from rag_client.cli import main; "
        "main(['ask', '--help'], standalone_mode=False); "
        "print({'grpc', 'google.protobuf', 'rich', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Usage:")
    assert ran.stderr == "set()\n"


def _commands(group: click.Group, *path: str):
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), list(_commands(main)), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_explains_itself_and_can_print_json(rag, path, command):
    assert isinstance(command, Command)
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    printed = rag(*path, "--help").stdout
    assert printed.startswith(f"Usage: rag {' '.join(path)} ")
    assert command.help.splitlines()[0] in " ".join(printed.split())
    assert "--json" in printed


def test_every_script_of_the_project_can_be_loaded():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    installed = {point.name: point for point in entry_points(group="console_scripts") if point.name in declared}
    assert set(installed) == set(declared)
    assert all(isinstance(point.load(), click.Command) for point in installed.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        (" two\n lines\t", "two lines"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b]0;never closed", "0;never closed"),
        ("\x9b31mred", "red"),
        ("a\x1bcb", "ab"),
        ("a\u202eb\u2066c\x08d\x7f", "abcd"),
        ("half \udc80", "half \ufffd"),
        ("naïve 数据 👩‍🔬", "naïve 数据 👩‍🔬"),
    ],
)
def test_clean(text, expected):
    assert clean(text) == expected


def test_shorten():
    assert shorten("one two three", 13) == "one two three"
    assert shorten("one two three", 9) == "one two…"
    assert shorten("x" * 20, 9) == "xxxxxxxx…"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (159_949, "156.2 KB"),
        (5 << 20, "5.0 MB"),
        (3 << 30, "3.0 GB"),
        (7 << 40, "7.0 TB"),
    ],
)
def test_size(count, expected):
    assert size(count) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, "0 ms"),
        (0.1234, "0.123 ms"),
        (34.44, "34.4 ms"),
        (999.9, "1 s"),
        (1500, "1.5 s"),
        (180_000, "3 min"),
        (7_200_000, "2 h"),
        (864_000_000, "10 d"),
    ],
)
def test_duration(milliseconds, expected):
    assert duration(milliseconds) == expected
