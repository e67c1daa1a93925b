"""The parser process as a worker sees it: a file that hangs, swells or crashes it costs that file alone.

One that was killed is given the file once more: what killed it twice is the file's own doing.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ingest_service.readers.bibliography import Bibliography
from ingest_service.readers.document import ByteSource, Document, PageStart, Section, read_bytes
from rag_papers.persist.index_store import FileError

UNSETTLED = frozenset(("PARSE_TIMEOUT", "PARSE_MEMORY", "PARSE_CRASHED"))
"""Reasons for which the same file may be read at another time, or under other limits."""

_ABORTS = frozenset((signal.SIGABRT, signal.SIGTRAP, signal.SIGILL))
"""How libraries in C end a process that gets no more memory."""


class Parser:
    """Hands files to a parser process, which is started when the first one comes and again after it was lost."""

    def __init__(self, *, seconds: float, memory_bytes: int, grace: float = 60) -> None:
        """A file may take `seconds`, which the process minds by itself. One that does not, because it is stopped or
        never got to its work, is killed `grace` seconds later; they leave it time to start on a busy machine.
        """
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: str, suffix: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
        """What the reader of `suffix` makes of a file; `limit` is the largest file and the longest text, bytes."""
        data = read_bytes(path, file, limit)
        if isinstance(data, FileError):
            yield data
            return
        found = self._answer(path, suffix, data, limit)
        if _crashed(found):  # which may have come from outside, as when the machine runs out of memory
            found = self._answer(path, suffix, data, limit)
        yield from found

    def _answer(self, path: str, suffix: str, data: bytes, limit: int) -> list[Document | FileError]:
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        request = {"path": path, "suffix": suffix, "limit": limit, "size": len(data)}
        with _killed_after(self._seconds + self._grace, process) as killed:
            with contextlib.suppress(BrokenPipeError):  # it died before; that is said where its answer is missing
                process.stdin.write(json.dumps(request).encode() + b"\n" + data)
                process.stdin.flush()
            answer = process.stdout.readline()
            late = killed.is_set()
        found: list[Document | FileError]
        if answer.endswith(b"\n"):
            found = [_item(item) for item in json.loads(answer)]
        else:
            found = [self._lost(path, process, late)]
        if any(isinstance(item, FileError) and item.reason in UNSETTLED for item in found):
            self.close()  # it is dead, or what a failed allocation left behind, which nobody trusts
        return found

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ingest_service.parser", str(self._seconds), str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _lost(self, path: str, process: subprocess.Popen[bytes], late: bool) -> FileError:
        code = process.wait()
        if late or code == -signal.SIGALRM:
            message = f"parsing it takes longer than {self._seconds:g} seconds"
            return FileError(path=path, reason="PARSE_TIMEOUT", message=message)
        if -code in _ABORTS:
            message = f"parsing it takes more than {self._memory_bytes} bytes"
            return FileError(path=path, reason="PARSE_MEMORY", message=message)
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return FileError(path=path, reason="PARSE_CRASHED", message=f"the process that parsed it {ended}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kills a process unless the block ends in time; the event tells that it did."""
    watch = threading.Timer(seconds, process.kill)
    watch.daemon = True
    watch.start()
    try:
        yield watch.finished
    finally:
        watch.cancel()


def _crashed(found: Sequence[Document | FileError]) -> bool:
    return any(isinstance(item, FileError) and item.reason == "PARSE_CRASHED" for item in found)


def _item(item: dict[str, Any]) -> Document | FileError:
    if "error" in item:
        return FileError(**item["error"])
    fields = item["document"]
    known = fields.pop("bibliography")
    return Document(
        **fields
        | {
            "sections": tuple(Section(**section) for section in fields["sections"]),
            "pages": tuple(PageStart(**page) for page in fields["pages"]),
            "bibliography": Bibliography(**known | {"authors": tuple(known["authors"])}),
        }
    )
