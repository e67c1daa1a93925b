"""What takes its time on stderr: a live bar on a terminal, a few plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rag_client.cli.jobview import passages, phase
from rag_client.cli.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from rag_papers.v1.resources_pb2 import Job

Show = Callable[[str, float, str], None]
"""Shows what is being done, the share of it that is done in [0, 1], and how much that is in words."""

Reporter = Callable[["Job"], None]
"""Shows a job as it is now."""


@contextmanager
def job_on_stderr() -> Iterator[Reporter]:
    """A reporter for people."""
    with on_stderr() as show:
        yield lambda job: show(phase(job), job.progress, passages(job))


@contextmanager
def on_stderr() -> Iterator[Show]:
    """A bar, or lines, for people."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _plain()


@contextmanager
def counting(name: str, total: int, one: str, many: str) -> Iterator[Callable[[], None]]:
    """Shows how many of `total` things are done; what it gives is called for each of them."""
    what = counted(total, one, many)
    done = 0
    with on_stderr() as show:

        def advance() -> None:
            nonlocal done
            done += 1
            show(name, done / total, f"{done}/{what}")

        show(name, 0.0, f"0/{what}")
        yield advance


@contextmanager
def _bar(console: "Console") -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0, detail="")

        def show(name: str, share: float, detail: str) -> None:
            progress.update(task, completed=share, description=name, detail=detail)

        yield show


def _plain() -> Show:
    last: tuple[str, int] | None = None

    def show(name: str, share: float, detail: str) -> None:
        nonlocal last
        step = (name, int(share * 10 + 1e-9))
        if step != last:
            last = step
            click.echo(f"{name:<9} {share:>4.0%}  {detail}".rstrip(), err=True)

    return show
