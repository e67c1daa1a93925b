"""When a broken watch attaches again: the policy, apart from how one waits and reads."""

import dataclasses
import logging

from rag_papers.errors import Draining, RagError, Unreachable
from rag_papers.v1.resources_pb2 import Job, JobState

_log = logging.getLogger(__name__)

_FINAL = frozenset({JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backoff:
    """How patiently a broken watch is attached again; the defaults outlast the restart of a service."""

    tries: int = 10
    """Attempts in a row that may fail without the job having moved between them."""
    first_pause: float = 0.25
    """Wait before the first of them, seconds; doubles with each."""
    longest_pause: float = 5.0
    """Most seconds to wait before one of them."""


class Watch:
    """One watch of a job over as many streams as it takes."""

    def __init__(self, job_id: str, after_revision: int, backoff: Backoff) -> None:
        self.job_id = job_id
        self.revision = after_revision
        self.ended = False
        self._backoff = backoff
        self._failures = 0

    def saw(self, job: Job) -> Job:
        """Notes a job that arrived, and returns it."""
        # Only a job that moved is progress: a service that breaks after its first message would be asked forever.
        if job.revision != self.revision:
            self._failures = 0
        self.revision = job.revision
        self.ended = job.state in _FINAL
        return job

    def pause_after(self, error: RagError | None) -> float:
        """Seconds to wait before attaching again after a stream broke (None: ended too early); or raises the error."""
        error = error or Draining(f"the watch of job {self.job_id} ended before the job did")
        # A watch that never saw its job has nothing to continue; its caller should hear at once that nobody is there.
        if not isinstance(error, Unreachable | Draining) or not self.revision or self._failures >= self._backoff.tries:
            raise error
        pause = min(self._backoff.first_pause * 2.0**self._failures, self._backoff.longest_pause)
        self._failures += 1
        _log.warning("the watch of job %s broke (%s); attaching again", self.job_id, error.message)
        return pause
