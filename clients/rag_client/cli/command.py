"""What every command has in common: how failures end it."""

import io
import os
import sys
from typing import Any

import click

from rag_client.cli.exits import ExitCode, report
from rag_papers.errors import RagError


class Command(click.Command):
    """A command whose failures become an exit code and words on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        _prepare(ctx)
        try:
            return super().invoke(ctx)
        except RagError as error:
            ctx.exit(report(error))
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(ExitCode.DONE)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type


def _prepare(ctx: click.Context) -> None:
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    # Papers are full of letters that a terminal's encoding may lack; a "?" is better than no answer.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _forget_stdout() -> None:
    # Whoever read stdout has seen enough, as `head` does. What is still buffered would fail again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
