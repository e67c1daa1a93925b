"""An endpoint of OpenAI's chat protocol that behaves, and misbehaves, as a test wrote down. On loopback alone."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]
"""Writes a response; the connection is closed after it."""

PATIENCE = 60.0


class ChatServer:
    """Answers one request after the other with the replies it was given; the last one repeats."""

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.gone = threading.Event()
        """The client has closed a connection that was being written to."""
        self._replies = deque(replies)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = outer._replies.popleft() if len(outer._replies) > 1 else outer._replies[0]
                try:
                    reply(self)
                except OSError:
                    outer.gone.set()

            def log_message(self, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def status(code: int, message: str = "no", **headers: str) -> Reply:
    """A refusal."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"error": {"message": message}}).encode()
        handler.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def raw(*data: bytes) -> Reply:
    """A stream of events as they go over the wire, in these pieces."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for piece in data:
            handler.wfile.write(piece)

    return reply


def begin(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()


def chunk(content: Any, finish: Any = None) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(event)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def writes(text: str, size: int = 3, finish: str = "stop") -> Reply:
    """An answer in pieces of `size` characters."""
    pieces = [chunk(text[start : start + size]) for start in range(0, len(text), size)]
    return raw(*pieces, chunk("", finish), DONE)


def waits(go_on: threading.Event, before: Iterable[bytes] = (), after: Sequence[bytes] = ()) -> Reply:
    """Sends something, waits until it may go on or the client is gone, and sends the rest."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for piece in before:
            handler.wfile.write(piece)
        handler.wfile.flush()
        # A comment now and then, which is how one notices that nobody reads any more.
        for _ in range(int(PATIENCE / 0.01)):
            if go_on.wait(0.01):
                break
            handler.wfile.write(b": still here\n\n")
        for piece in after:
            handler.wfile.write(piece)

    return reply
