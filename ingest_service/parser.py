"""The parser process: reads files that a worker hands it, under limits, one after the other. Ends with the worker.

Run as `python -m ingest_service.parser SECONDS BYTES`. A request is a line {"path", "suffix", "limit", "size"} and then
`size` bytes; the answer is a line, a list of documents and file errors. A file that takes longer ends the process by
SIGALRM: nothing else stops a parser written in C.
"""

import dataclasses
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from ingest_service.readers.confined import CONFINED_READERS
from rag_papers.persist.index_store import FileError


def main(seconds: float, memory_bytes: int) -> int:
    """Answers requests until the worker ends."""
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        data = sys.stdin.buffer.read(request.pop("size"))
        try:
            answer = _answer(data=data, **request)
        except MemoryError:
            message = f"parsing it takes more than {memory_bytes} bytes"
            error = FileError(path=request["path"], reason="PARSE_MEMORY", message=message)
            answer = _line([{"error": dataclasses.asdict(error)}])
        del data
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(answer)
        answers.flush()
    return 0


def _answer(path: str, suffix: str, limit: int, data: bytes) -> bytes:
    found = CONFINED_READERS[suffix](path, io.BytesIO(data), limit)
    return _line([{"error" if isinstance(item, FileError) else "document": dataclasses.asdict(item)} for item in found])


def _line(answer: list[dict[str, Any]]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _address_space() -> int:
    """Bytes that the process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
