"""Following a job to its end."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from rag_client.cli import jobview, progress
from rag_client.cli.exits import ExitCode, complain, give_hint, hint_for
from rag_client.cli.output import print_lines

if TYPE_CHECKING:
    from rag_client import IngestClient
    from rag_papers.v1.resources_pb2 import Job


def follow(client: "IngestClient", job: "Job", reporting: AbstractContextManager[progress.Reporter]) -> "Job":
    """Shows a job until it ends, from the revision that `job` has, and returns it as it ended.

    Ctrl-C leaves the job alone: it ends this command only, and says how to come back.
    """
    try:
        with reporting as show:
            for latest in client.watch_job(job.job_id, job.revision):
                show(latest)
                job = latest
    except KeyboardInterrupt:
        click.echo(f"\ndetached; job {job.job_id} goes on", err=True)
        give_hint(f"follow it with: rag jobs watch {job.job_id}")
        give_hint(f"stop it with: rag jobs cancel {job.job_id}")
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    return job


def conclude(job: "Job", *, quiet: bool) -> None:
    """Ends the command as the job ended; `quiet` leaves away what would go to stdout."""
    from rag_papers.v1.resources_pb2 import JobState

    if job.state == JobState.JOB_STATE_SUCCEEDED:
        if not quiet:
            print_lines(jobview.summary(job))
        return
    if job.state == JobState.JOB_STATE_FAILED:
        for line in jobview.file_errors(job):
            click.echo(line, err=True)
        complain(jobview.failure(job), hint_for(job.error.reason))
    else:
        complain(f"job {job.job_id} was cancelled; nothing was published")
    raise click.exceptions.Exit(ExitCode.FAILED)
