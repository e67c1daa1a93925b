"""Libraries that come with an extra alone."""

import importlib.util

import click

from rag_client.cli.exits import ExitCode, complain


def need_library(module: str, does: str) -> None:
    """Ends the command if a library of the extra `eval` is missing; `does` says what it is for."""
    if importlib.util.find_spec(module) is None:
        complain(f"the library that {does} is missing", 'install it with: pip install "rag-papers[eval]"')
        raise click.exceptions.Exit(ExitCode.FAILED)
