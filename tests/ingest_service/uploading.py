"""Uploads as callers make them, message by message."""

import hashlib
import queue
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rag_papers.v1 import ingest_pb2 as pb
from tests.ingest_service.ingest_harness import PATIENCE, Client, until

Message = pb.UploadDocumentsRequest

END = Message(end=pb.UploadEnd())


def start(corpus: str = "papers", **fields: Any) -> Message:
    return Message(start=pb.UploadStart(corpus=corpus, **fields))


def header(path: str, data: bytes = b"one paper.", **fields: Any) -> Message:
    """The header of a file that holds `data`, some of its fields replaced."""
    usual = {"path": path, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return Message(file=pb.UploadFile(**usual | fields))


def chunk(data: bytes) -> Message:
    return Message(chunk=data)


def whole(files: Mapping[str, bytes], corpus: str = "papers", **fields: Any) -> Iterator[Message]:
    """A whole upload, in chunks of 1 MiB."""
    yield start(corpus, **fields)
    for path, data in files.items():
        yield header(path, data)
        for begin in range(0, len(data), 1 << 20):
            yield chunk(data[begin : begin + (1 << 20)])
    yield END


def upload(client: Client, messages: Iterable[Message]) -> pb.UploadDocumentsResponse:
    return client.stub.UploadDocuments(iter(messages), timeout=PATIENCE)


def area(client: Client) -> Path:
    return client.paths.uploads


def staged(client: Client) -> list[Path]:
    """The files of uploads that are not complete, and their directories."""
    while True:
        try:
            return sorted((area(client) / ".staging").rglob("*"))
        except FileNotFoundError:  # removed while it was walked through
            continue


def stored(client: Client, corpus: str = "papers") -> dict[str, bytes]:
    root = area(client) / corpus
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def nothing_left(client: Client) -> bool:
    """Whether the area is as if there had been no upload."""
    return not staged(client) and [path.name for path in area(client).iterdir()] == [".staging"]


class SlowUpload:
    """An upload whose messages are sent one by one."""

    def __init__(self, client: Client, timeout: float = PATIENCE) -> None:
        self._client = client
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.call = client.stub.UploadDocuments.future(iter(self._messages.get, None), timeout=timeout)

    def send(self, *messages: Message) -> None:
        for message in messages:
            self._messages.put(message)

    def half_close(self) -> None:
        self._messages.put(None)

    def end(self) -> pb.UploadDocumentsResponse:
        self.send(END)
        self.half_close()
        return self.call.result(PATIENCE)

    def arrives(self, size: int) -> None:
        """Waits until so many bytes of this upload, the only one, lie in the staging area."""

        def there() -> bool:
            return sum(path.stat().st_size for path in staged(self._client) if path.is_file()) == size

        until(there, f"{size} bytes that are staged")
