"""`rag index`: the published versions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli.command import Group
from rag_client.cli.options import with_ingest_client
from rag_client.cli.output import emit, fields, table
from rag_client.cli.text import clean, counted, moment, size

if TYPE_CHECKING:
    from rag_client import IngestClient
    from rag_papers.v1.resources_pb2 import Index


@click.group(cls=Group)
def index() -> None:
    """List and administer the published indexes."""


of_corpus = click.option("--corpus", required=True, metavar="NAME", help="The corpus.")


@index.command("list")
@click.option("--corpus", default="", metavar="NAME", help="Only versions of this corpus.")
@with_ingest_client()
def list_(client: "IngestClient", as_json: bool, corpus: str) -> None:
    """List the published versions, newest first; * marks the one that a corpus answers from."""
    from rag_papers.v1.ingest_pb2 import ListIndexesResponse

    found = list(client.list_indexes(corpus=corpus))
    header = ("CORPUS", "", "CORPUS ID", "DOCUMENTS", "PASSAGES", "SIZE", "PUBLISHED", "MODEL")
    rows = [
        (
            clean(item.corpus),
            "*" if item.active else "",
            item.corpus_id,
            str(item.document_count),
            str(item.passage_count),
            size(item.size_bytes),
            moment(item.create_time),
            clean(item.embed_model_name),
        )
        for item in found
    ]
    emit(
        ListIndexesResponse(indexes=found),
        table(header, rows, right=("DOCUMENTS", "PASSAGES", "SIZE")),
        as_json=as_json,
    )


@index.command()
@click.argument("corpus_id", default="")
@click.option("--corpus", default="", metavar="NAME", help="The corpus; default: the one published last.")
@with_ingest_client()
def show(client: "IngestClient", as_json: bool, corpus_id: str, corpus: str) -> None:
    """Show one version: the active one unless CORPUS_ID names another."""
    from rag_papers.v1.ingest_pb2 import GetIndexResponse

    found = client.get_index(corpus=corpus, corpus_id=corpus_id)
    emit(GetIndexResponse(index=found), _details(found), as_json=as_json)


@index.command()
@click.argument("corpus_id")
@of_corpus
@with_ingest_client(deadline=deadlines.WHOLE_INDEX)
def activate(client: "IngestClient", as_json: bool, corpus_id: str, corpus: str) -> None:
    """Let a corpus answer from its version CORPUS_ID, newer or older: a rollback."""
    from rag_papers.v1.ingest_pb2 import ActivateIndexResponse

    found = client.activate_index(corpus, corpus_id)
    emit(ActivateIndexResponse(index=found), [f"{clean(found.corpus)} answers from {found.corpus_id}"], as_json=as_json)


@index.command()
@click.argument("corpus_id", default="")
@click.option("--corpus", default="", metavar="NAME", help="The corpus; default: the one published last.")
@with_ingest_client(deadline=deadlines.WHOLE_INDEX)
def verify(client: "IngestClient", as_json: bool, corpus_id: str, corpus: str) -> None:
    """Read every file of a version: the active one unless CORPUS_ID names another."""
    response = client.verify_index(corpus=corpus, corpus_id=corpus_id)
    found = response.index
    emit(
        response,
        [f"{found.corpus_id} of {clean(found.corpus)} is intact: {size(found.size_bytes)} read"],
        as_json=as_json,
    )


@index.command()
@click.argument("corpus_id")
@of_corpus
@with_ingest_client(deadline=deadlines.WHOLE_INDEX)
def delete(client: "IngestClient", as_json: bool, corpus_id: str, corpus: str) -> None:
    """Delete the version CORPUS_ID of a corpus; the active one is refused."""
    response = client.delete_index(corpus, corpus_id)
    emit(
        response,
        [f"deleted {clean(corpus_id)} of {clean(corpus)}, freed {size(response.freed_bytes)}"],
        as_json=as_json,
    )


@index.command()
@with_ingest_client(deadline=deadlines.WHOLE_INDEX)
def gc(client: "IngestClient", as_json: bool) -> None:
    """Delete what is left of indexes that no corpus refers to."""
    response = client.collect_indexes()
    deleted = counted(len(response.corpus_ids), "index", "indexes")
    emit(
        response,
        [*map(clean, response.corpus_ids), f"deleted {deleted}, freed {size(response.freed_bytes)}"],
        as_json=as_json,
    )


def _details(found: "Index") -> Iterator[str]:
    yield from fields(
        [
            ("Corpus", clean(found.corpus)),
            ("Corpus ID", found.corpus_id),
            ("Active", "yes" if found.active else "no"),
            ("Documents", str(found.document_count)),
            ("Passages", str(found.passage_count)),
            ("Dimension", str(found.dim)),
            ("Model", clean(found.embed_model_name)),
            ("Model identity", found.embed_model_identity),
            ("Size", size(found.size_bytes)),
            ("Published", moment(found.create_time)),
        ],
        indent="",
    )
    if found.checksums:
        yield "\nSHA-256"
        for name, digest in sorted(found.checksums.items()):
            yield f"  {digest}  {clean(name)}"
