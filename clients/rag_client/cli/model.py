"""`rag model`: the frozen embedding models."""

from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli.command import Group
from rag_client.cli.options import with_ingest_client
from rag_client.cli.output import emit, table
from rag_client.cli.text import clean, moment, size

if TYPE_CHECKING:
    from rag_client import IngestClient


@click.group(cls=Group)
def model() -> None:
    """Freeze embedding models for QueryService, and list them."""


@model.command()
@click.argument("name", default="")
@with_ingest_client(deadline=deadlines.PREPARE)
def prepare(client: "IngestClient", as_json: bool, name: str) -> None:
    """Freeze the model NAME, as the first ingest with it does; default: the one that ingests use."""
    response = client.prepare_model(name)
    found = response.model
    done = "was prepared already and is intact" if response.existed else "is prepared"
    emit(response, [f"{clean(found.model_name)} {done}: {found.identity}, {size(found.size_bytes)}"], as_json=as_json)


@model.command("list")
@with_ingest_client()
def list_(client: "IngestClient", as_json: bool) -> None:
    """List the frozen models."""
    response = client.list_models()
    header = ("MODEL", "PRECISION", "DIM", "TOKENS", "SIZE", "PREPARED", "IDENTITY", "STATE")
    rows = [
        (
            clean(item.model_name) or "-",
            item.precision or "-",
            str(item.dim),
            str(item.max_tokens),
            size(item.size_bytes),
            moment(item.prepare_time),
            clean(item.identity),
            clean(item.damage) or "ok",
        )
        for item in response.models
    ]
    emit(response, table(header, rows, right=("DIM", "TOKENS", "SIZE")), as_json=as_json)
