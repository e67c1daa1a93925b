"""`rag session`: questions and answers that belong together."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag_client import deadlines
from rag_client.cli.command import Group
from rag_client.cli.options import with_query_client
from rag_client.cli.output import emit, fields, print_json, table, to_json
from rag_client.cli.text import clean, counted, moment, shorten, wrap

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_papers.v1.query_pb2 import Session, Turn

_TITLE = 60  # characters of a title in a list


@click.group(cls=Group)
def session() -> None:
    """List, read, export and delete sessions. A session begins with: rag ask --session - QUESTION."""


@session.command("list")
@with_query_client()
def list_(client: "QueryClient", as_json: bool) -> None:
    """List the sessions, the one with the newest turn first."""
    from rag_papers.v1.query_pb2 import ListSessionsResponse

    found = list(client.list_sessions())
    rows = [
        (clean(item.session_id), str(item.turn_count), moment(item.update_time), shorten(item.title, _TITLE))
        for item in found
    ]
    lines = table(("SESSION", "TURNS", "LAST TURN", "FIRST QUESTION"), rows, right=("TURNS",))
    emit(ListSessionsResponse(sessions=found), lines, as_json=as_json)


@session.command()
@click.argument("session_id")
@with_query_client(deadline=deadlines.WHOLE_SESSION)
def show(client: "QueryClient", as_json: bool, session_id: str) -> None:
    """Show a session with all its questions and answers."""
    from rag_papers.v1.query_pb2 import GetSessionResponse

    found = client.get_session(session_id, page_size=1).session
    turns = list(client.export_session(session_id))
    emit(GetSessionResponse(session=found, turns=turns), _session_lines(found, turns), as_json=as_json)


@session.command()
@click.argument("session_id")
@with_query_client(deadline=deadlines.WHOLE_SESSION)
def export(client: "QueryClient", as_json: bool, session_id: str) -> None:
    """Print a session as JSON, one turn a line: rag session export ID > session.jsonl."""
    for turn in client.export_session(session_id):
        print_json(turn)


@session.command()
@click.argument("session_id")
@with_query_client()
def delete(client: "QueryClient", as_json: bool, session_id: str) -> None:
    """Delete a session with all its turns."""
    from rag_papers.v1.query_pb2 import DeleteSessionResponse

    count = client.delete_session(session_id)
    line = f"deleted {clean(session_id)}: {counted(count, 'turn', 'turns')}"
    emit(DeleteSessionResponse(turn_count=count), [line], as_json=as_json)


def save(turns: Iterable["Turn"], below: Path = Path("runs")) -> Path:
    """Writes turns, one a line, to a new session_{time}/session.jsonl below a directory; returns the file."""
    name = time.strftime("session_%Y%m%d_%H%M%S")
    below.mkdir(parents=True, exist_ok=True)
    for count in range(1000):
        directory = below / (f"{name}_{count}" if count else name)
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        file = directory / "session.jsonl"
        with file.open("x", encoding="utf-8") as opened:
            opened.writelines(f"{to_json(turn)}\n" for turn in turns)
        return file
    raise FileExistsError(f"{below / name} and 999 more exist")


def _session_lines(found: "Session", turns: Iterable["Turn"]) -> Iterator[str]:
    yield from fields(
        [
            ("Session", clean(found.session_id)),
            ("Begun", moment(found.create_time)),
            ("Last turn", moment(found.update_time)),
            ("Turns", str(found.turn_count)),
        ],
        indent="",
    )
    for turn in turns:
        response = turn.response
        yield f"\n{click.style(f'{turn.number}. {clean(turn.query)}', bold=True)}"
        if response.resolved_query:
            yield click.style(f"   understood as: {clean(response.resolved_query)}", dim=True)
        yield wrap(clean(response.answer), indent="   ")
        yield click.style(f"   score {response.score:.2f} · {clean(response.corpus)} {response.corpus_id}", dim=True)
