"""`rag jobs`: what is being ingested, and what was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rag_client.cli import jobview, progress
from rag_client.cli.command import Group
from rag_client.cli.following import conclude, follow
from rag_client.cli.options import with_ingest_client
from rag_client.cli.output import emit, print_json, table
from rag_client.cli.text import clean, moment

if TYPE_CHECKING:
    from rag_client import IngestClient


@click.group(cls=Group)
def jobs() -> None:
    """List, show, watch and cancel jobs."""


@jobs.command("list")
@click.option("--state", metavar="STATE", help="Only jobs that are queued, running, succeeded, failed or cancelled.")
@with_ingest_client()
def list_(client: "IngestClient", as_json: bool, state: str | None) -> None:
    """List the jobs, newest first."""
    from rag_papers.v1.ingest_pb2 import ListJobsResponse

    found = list(client.list_jobs(state=state))
    rows = [
        (
            job.job_id,
            jobview.state(job),
            f"{job.progress:.0%}",
            moment(job.create_time),
            clean(job.corpus),
            clean(job.message),
        )
        for job in found
    ]
    emit(
        ListJobsResponse(jobs=found),
        table(("JOB", "STATE", "DONE", "QUEUED", "CORPUS", "MESSAGE"), rows, right=("DONE",)),
        as_json=as_json,
    )


@jobs.command()
@click.argument("job_id", metavar="ID")
@with_ingest_client()
def show(client: "IngestClient", as_json: bool, job_id: str) -> None:
    """Show a job as it is now."""
    from rag_papers.v1.ingest_pb2 import GetJobResponse

    job = client.get_job(job_id)
    emit(GetJobResponse(job=job), jobview.details(job), as_json=as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@with_ingest_client(deadline=None)
def watch(client: "IngestClient", as_json: bool, job_id: str) -> None:
    """Follow a job to its end; Ctrl-C leaves it running.

    With --json every change is one line.
    """
    from rag_papers.v1.resources_pb2 import Job

    reporting = _json_lines() if as_json else progress.job_on_stderr()
    conclude(follow(client, Job(job_id=job_id), reporting), quiet=as_json)


@contextmanager
def _json_lines() -> Iterator[progress.Reporter]:
    from rag_papers.v1.ingest_pb2 import WatchJobResponse

    yield lambda job: print_json(WatchJobResponse(job=job))


@jobs.command()
@click.argument("job_id", metavar="ID")
@with_ingest_client()
def cancel(client: "IngestClient", as_json: bool, job_id: str) -> None:
    """Cancel a job; harmless when it has ended."""
    from rag_papers.v1.ingest_pb2 import CancelJobResponse

    job = client.cancel_job(job_id)
    emit(CancelJobResponse(job=job), [f"{job.job_id}  {jobview.state(job)}"], as_json=as_json)
    if not job.HasField("finish_time"):
        click.echo(clean(job.message), err=True)
