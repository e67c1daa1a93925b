"""The worker process: reads a task from stdin, builds, reports on stdout. Ends when the service does.

Run as `python -m ingest_service.worker`.
"""

import dataclasses
import sys
import time
from typing import Any

from ingest_service.build import build
from ingest_service.talking import begin, end, send
from ingest_service.task import Task, overall
from rag_papers.persist.index_store import FileError
from rag_papers.persist.job_log import JobStage

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
        send("update", self._pending)
        self._pending = {}


def main() -> int:
    """Runs one task; the exit code is 0 whenever an outcome or an error was reported."""
    task = Task(**begin())
    reporter = _Reporter()
    return end(lambda: dataclasses.asdict(build(task, reporter)), reporter.flush)


if __name__ == "__main__":
    sys.exit(main())
