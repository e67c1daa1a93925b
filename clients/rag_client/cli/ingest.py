"""`rag ingest`: a directory of papers becomes a published index."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag_client.cli import progress
from rag_client.cli.command import Command
from rag_client.cli.exits import give_hint
from rag_client.cli.following import conclude, follow
from rag_client.cli.options import with_ingest_client
from rag_client.cli.output import emit, print_json
from rag_client.cli.text import clean

if TYPE_CHECKING:
    from rag_client import IngestClient


@click.command(cls=Command)
@click.argument("directory", metavar="DIR")
@click.option("--corpus", default="", metavar="NAME", help="Publish as this; default: the directory's name.")
@click.option("--model", default="", metavar="NAME", help="Embedding model; default: the service's.")
@click.option("--no-cache", is_flag=True, help="Embed and build everything anew.")
@click.option(
    "--max-failed-files",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fail when more files than this cannot be ingested; default: go on with the others.",
)
@click.option("--detach", is_flag=True, help="Start the job and do not wait for it.")
@with_ingest_client()
def ingest(
    client: "IngestClient",
    as_json: bool,
    directory: str,
    corpus: str,
    model: str,
    no_cache: bool,
    max_failed_files: int | None,
    detach: bool,
) -> None:
    """Turn a directory of papers into an index, and show the progress.

    Ctrl-C detaches: the job goes on. --timeout bounds the start of the job, not the job.
    """
    run(
        client,
        as_json,
        directory,
        corpus=corpus,
        model=model,
        no_cache=no_cache,
        max_failed_files=max_failed_files,
        detach=detach,
    )


def run(
    client: "IngestClient",
    as_json: bool,
    directory: str,
    *,
    corpus: str = "",
    model: str = "",
    no_cache: bool = False,
    max_failed_files: int | None = None,
    detach: bool = False,
) -> None:
    """Starts a job and follows it unless `detach`."""
    # The service has another working directory than the person who typed the path.
    corpus_dir = Path(directory).absolute()
    job = client.start_ingest(
        corpus_dir,
        corpus=corpus,
        model_name=model,
        use_cache=False if no_cache else None,
        max_failed_files=max_failed_files,
    )
    if not as_json:
        click.echo(f"Ingesting {clean(job.corpus_dir)}", err=True)
        click.echo(f"  Model: {clean(job.model_name)}", err=True)
        click.echo(f"  Cache: {'enabled' if job.use_cache else 'disabled'}", err=True)
        click.echo(f"{click.style('✓', fg='green')} Job started: {job.job_id}", err=True)
    if detach:
        from rag_papers.v1.ingest_pb2 import StartIngestResponse

        emit(StartIngestResponse(job=job), [job.job_id], as_json=as_json)
        give_hint(f"follow it with: rag jobs watch {job.job_id}")
        return
    job = follow(client, job, progress.job_on_stderr())
    if as_json:
        print_json(job)
    conclude(job, quiet=as_json)
