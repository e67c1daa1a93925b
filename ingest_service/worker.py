"""The worker process: reads a task from stdin, builds, reports on stdout. Ends when the service does.

Run as `python -m ingest_service.worker`.
"""

import dataclasses
import json
import logging
import os
import sys
import threading
import time
from typing import Any

from ingest_service.build import build
from ingest_service.task import Task, line, overall
from rag_papers.errors import Internal, RagError
from rag_papers.persist.index_store import FileError, disk_full_is_an_error_of_ours
from rag_papers.persist.job_log import JobStage

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 0.1


class _Reporter:
    """Sends reports, at most ten a second but for the first of a stage."""

    def __init__(self) -> None:
        self._stage: JobStage | None = None
        self._sent = 0.0
        self._pending: dict[str, Any] = {}

    def __call__(self, stage: JobStage, fraction: float, message: str, **fields: Any) -> None:
        self._pending |= fields | {"stage": stage, "progress": overall(stage, fraction), "message": message}
        now = time.monotonic()
        if stage is self._stage and now - self._sent < _REPORT_SECONDS:
            return
        self._stage, self._sent = stage, now
        self.flush()

    def flush(self) -> None:
        """Sends what was held back."""
        if not self._pending:
            return
        if "file_errors" in self._pending:
            errors: list[FileError] = self._pending["file_errors"]
            self._pending["file_errors"] = [dataclasses.asdict(error) for error in errors]
        _send("update", self._pending)
        self._pending = {}


def main() -> int:
    """Runs one task; the exit code is 0 whenever an outcome or an error was reported."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s worker %(message)s")
    task = Task(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    reporter = _Reporter()
    try:
        with disk_full_is_an_error_of_ours():
            outcome = build(task, reporter)
    except RagError as error:
        reporter.flush()
        _send("failed", {"reason": error.reason, "message": error.message})
    except Exception:
        logger.exception("a defect")
        _send("failed", {"reason": Internal.reason, "message": "a defect of the service; its log has the details"})
    else:
        reporter.flush()
        _send("done", dataclasses.asdict(outcome))
    return 0


def _send(kind: str, content: Any) -> None:
    sys.stdout.buffer.write(line(kind, content))
    sys.stdout.buffer.flush()


def _end_with_the_service() -> None:
    while sys.stdin.buffer.read1():  # type: ignore[union-attr]
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
