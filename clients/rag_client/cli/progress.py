"""A running job on stderr: a live bar on a terminal, a few plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rag_client.cli.jobview import passages, phase

if TYPE_CHECKING:
    from rich.console import Console

    from rag_papers.v1.resources_pb2 import Job

Reporter = Callable[["Job"], None]
"""Shows a job as it is now."""


@contextmanager
def on_stderr() -> Iterator[Reporter]:
    """A reporter for people."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _plain()


@contextmanager
def _bar(console: "Console") -> Iterator[Reporter]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[passages]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0, passages="")

        def show(job: "Job") -> None:
            progress.update(task, completed=job.progress, description=phase(job), passages=passages(job))

        yield show


def _plain() -> Reporter:
    last: tuple[str, int] | None = None

    def show(job: "Job") -> None:
        nonlocal last
        step = (phase(job), int(job.progress * 10 + 1e-9))
        if step != last:
            last = step
            click.echo(f"{phase(job):<9} {job.progress:>4.0%}  {passages(job)}".rstrip(), err=True)

    return show
