"""What every process of the service does: it reads a task from stdin, reports on stdout, ends with the service."""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ingest_service.task import line
from rag_papers.errors import Internal, RagError
from rag_papers.persist.index_store import disk_full_is_an_error_of_ours

logger = logging.getLogger(__name__)

_NICENESS = 10  # whoever asks a question does not wait for an ingest on the same machine

_reports: BinaryIO = sys.stdout.buffer


def begin() -> dict[str, Any]:
    """The task. From here on the process ends when the service does, and what libraries print goes to stderr.

    It yields the processor to what is not as nice.
    """
    global _reports
    _be_nice()
    _reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s worker %(message)s")
    task: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    return task


def _be_nice() -> None:
    os.nice(_NICENESS)
    # Where Linux schedules sessions as groups, and this process has a session of its own, what counts is the group's.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def send(kind: str, content: Any) -> None:
    """Tells the service something."""
    _reports.write(line(kind, content))
    _reports.flush()


def end(work: Callable[[], dict[str, Any]], flush: Callable[[], None] = lambda: None) -> int:
    """Does the work and tells how it ended, after `flush`; the exit code is 0 whenever that was told."""
    try:
        with disk_full_is_an_error_of_ours():
            done = work()
    except RagError as error:
        flush()
        send("failed", {"reason": error.reason, "message": error.message})
    except Exception:
        logger.exception("a defect")
        send("failed", {"reason": Internal.reason, "message": "a defect of the service; its log has the details"})
    else:
        flush()
        send("done", done)
    return 0


def _end_with_the_service() -> None:
    while sys.stdin.buffer.read1():  # type: ignore[union-attr]
        pass
    os._exit(1)
