"""Stages that run at once, told as one after the other."""

import threading
from typing import Any

from ingest_service.pace import Pace
from ingest_service.task import Report
from rag_papers.persist.job_log import JobStage


class Stages:
    """Passes on the reports of stages that overlap: the first one that is not finished is what the job is at.

    So progress never falls, and each stage has its share of it. Numbers of passages and files are passed on at once,
    whichever stage they come from. Safe to call from several threads.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._at = dict.fromkeys(JobStage, (0.0, ""))
        self._open = list(JobStage)
        self._pace: Pace | None = None

    def __call__(
        self, stage: JobStage, fraction: float, message: str, *, pace: Pace | None = None, **fields: Any
    ) -> None:
        """Takes a report; see Report."""
        with self._lock:
            self._at[stage] = (max(fraction, self._at[stage][0]), message)
            self._pace = pace or self._pace
            self._tell(**fields)

    def finish(self, stage: JobStage) -> None:
        """Says that a stage is done."""
        with self._lock:
            _, message = self._at[stage]
            self._at[stage] = (1.0, message)
            if stage is JobStage.VECTORS:
                self._pace = None
            first = self._open[0]
            self._tell()
            self._open.remove(stage)
            if self._open and stage is first:
                self._tell()

    def _tell(self, **fields: Any) -> None:
        stage = self._open[0]
        fraction, message = self._at[stage]
        self._report(stage, fraction, message, pace=self._pace, **fields)
