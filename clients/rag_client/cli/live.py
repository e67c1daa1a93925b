"""An answer on a terminal while it comes about."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rag_client.cli.text import clean, counted

if TYPE_CHECKING:
    from rich.console import Console

    from rag_papers.v1.query_pb2 import AskResponse, AskStreamResponse

_LINES_BELOW = 3  # left free, so that what is shown can be cleared again


def follow(messages: Iterable["AskStreamResponse"], console: "Console") -> "AskResponse":
    """Shows an answer as it comes, clears it away when it is complete, and returns the response.

    What is printed then in its place has the marks of the sources, which are known at the end.
    """
    from rich.live import Live
    from rich.text import Text

    from rag_papers.v1.query_pb2 import AskResponse

    text, state, response = "", "", AskResponse()
    with Live(console=console, transient=True, refresh_per_second=12) as live:
        for message in messages:
            text += message.text_delta
            if message.HasField("done"):
                response = message.done
            state = _state(message) or state
            shown = textwrap.wrap(clean(text), console.width)[_LINES_BELOW - console.height :]
            live.update(Text("\n".join(shown)) + Text(f"\n{state}" if shown else state, style="dim"))
    return response


def _state(message: "AskStreamResponse") -> str:
    """What goes on after a message; empty if it is what went on before."""
    match message.WhichOneof("event"):
        case "started":
            return "searching ..."
        case "retrieved":
            return f"answering from {counted(len(message.retrieved.sources), 'passage', 'passages')} ..."
        case "verified":
            return f"score {message.verified.score:.2f} ..."
    return ""
