"""`rag upload`: papers of this machine become a published index of a service that shares no disk with it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli import ingest, progress
from rag_client.cli.command import Command
from rag_client.cli.options import with_ingest_client
from rag_client.cli.output import emit, fields
from rag_client.cli.text import clean, counted, size

if TYPE_CHECKING:
    from rag_client import IngestClient
    from rag_papers.v1.ingest_pb2 import UploadDocumentsResponse


@click.command(cls=Command)
@click.argument("files", metavar="FILES_OR_DIRS...", nargs=-1, required=True)
@click.option("--corpus", required=True, metavar="NAME", help="The corpus that the papers are for.")
@click.option("--replace-all", is_flag=True, help="Delete what was uploaded for the corpus before and is not now.")
@click.option(
    "--ingest/--no-ingest", "then_ingest", default=True, show_default=True, help="Ingest the corpus afterwards."
)
@click.option("--model", default="", metavar="NAME", help="Embedding model; default: the service's.")
@click.option("--no-cache", is_flag=True, help="Embed and build everything anew.")
@click.option("--detach", is_flag=True, help="Start the job and do not wait for it.")
@with_ingest_client(deadline=deadlines.UPLOAD)
def upload(
    client: "IngestClient",
    as_json: bool,
    files: tuple[str, ...],
    corpus: str,
    replace_all: bool,
    then_ingest: bool,
    model: str,
    no_cache: bool,
    detach: bool,
) -> None:
    """Send papers to the service, and turn all that was sent for the corpus into an index.

    A file keeps its name, the papers in a directory their paths below it. Either all of them are stored or, whatever
    goes wrong, none. --timeout bounds the upload and the start of the job, not the job.
    """
    with progress.on_stderr() as show:
        stored = client.upload_documents(
            files,
            corpus=corpus,
            replace_all=replace_all,
            on_progress=lambda sent, total: show("upload", sent / total, f"{size(sent)} of {size(total)}"),
        )
    if not then_ingest:
        emit(stored, _lines(stored), as_json=as_json)
        return
    if not as_json:
        for line in _lines(stored):
            click.echo(line, err=True)
    ingest.run(client, as_json, stored.corpus_dir, corpus=stored.corpus, model=model, no_cache=no_cache, detach=detach)


def _lines(stored: "UploadDocumentsResponse") -> Iterator[str]:
    """What was stored, for people."""
    counts = (
        f"{stored.new_count} new, {stored.replaced_count} replaced, {stored.unchanged_count} unchanged, "
        f"{stored.deleted_count} deleted"
    )
    yield f"{click.style('✓', fg='green')} Upload completed"
    yield from fields(
        [
            ("Corpus", clean(stored.corpus)),
            ("Directory", clean(stored.corpus_dir)),
            ("Sent", f"{counted(len(stored.files), 'file', 'files')}, {size(stored.total_bytes)}"),
            ("Files", counts),
        ]
    )
