"""The worker process: reads a task from stdin, builds, reports on stdout. Ends when the service does.

Run as `python -m ingest_service.worker`.
"""

import dataclasses
import sys
import threading
import time
from typing import Any, Self

from ingest_service.build import build
from ingest_service.pace import Pace, Speed
from ingest_service.talking import begin, end, send
from ingest_service.task import Task, overall
from rag_papers.persist.index_store import FileError
from rag_papers.persist.job_log import JobStage

_REPORT_SECONDS = 0.1
_BEAT_SECONDS = 0.4


class _Reporter:
    """Sends reports, at most ten a second but for the first of a stage.

    A thread of its own sends what has changed, or how long the last step has taken by now, more than twice a second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stage: JobStage | None = None
        self._message = ""
        self._told = self._sent = 0.0
        self._pending: dict[str, Any] = {}
        self._pace: Pace | None = None
        self._speed = Speed()
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="beats", daemon=True)

    def __enter__(self) -> Self:
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beats.join()

    def __call__(
        self, stage: JobStage, fraction: float, message: str, *, pace: Pace | None = None, **fields: Any
    ) -> None:
        with self._lock:
            self._pending |= fields | {"stage": stage, "progress": overall(stage, fraction), "message": message}
            self._pace = pace
            now = time.monotonic()
            if message != self._message:
                self._message, self._told = message, now
            if stage is self._stage and now - self._sent < _REPORT_SECONDS:
                return
            self._stage = stage
            self._send()

    def flush(self) -> None:
        """Sends what was held back."""
        with self._lock:
            self._send()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            with self._lock:
                if self._send():
                    continue
                if self._message:
                    self._pending["message"] = f"{self._message} ({time.monotonic() - self._told:.1f} s)"
                    self._send()
                else:
                    send("alive", {})

    def _send(self) -> bool:
        """Sends what has changed; returns whether anything has."""
        speed = self._pace.now() if self._pace else Speed()
        if speed != self._speed:
            self._speed = speed
            self._pending |= dataclasses.asdict(speed)
        if not self._pending:
            return False
        if "file_errors" in self._pending:
            errors: list[FileError] = self._pending["file_errors"]
            self._pending["file_errors"] = [dataclasses.asdict(error) for error in errors]
        send("update", self._pending)
        self._pending = {}
        self._sent = time.monotonic()
        return True


def main() -> int:
    """Runs one task; the exit code is 0 whenever an outcome or an error was reported."""
    task = Task(**begin())
    with _Reporter() as reporter:
        return end(lambda: dataclasses.asdict(build(task, reporter)), reporter.flush)


if __name__ == "__main__":
    sys.exit(main())
