"""Running a plan: step after step until a verify step accepts the answer or the plan is at its end."""

import dataclasses
import time
from collections.abc import Sequence

from query_service.plan import Step, steps
from query_service.retrieving import Ranking
from query_service.steps import STEPS, Attempt, Task
from query_service.stop import Stop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A plan that ran."""

    best: Attempt
    """The attempt with the highest score, of equals the first."""
    path: tuple[Step, ...]
    """The steps that ran, in order."""
    rankings: Sequence[Ranking]
    """Of every attempt."""
    timings_ms: dict[str, float]
    """By step; one that ran more than once has its sum."""


def run(task: Task, stop: Stop) -> Run:
    """Answers a question. Raises DeadlineExceeded between two steps, and whatever a step raises."""
    attempt = best = Attempt(task=task, repair=0)
    rankings: list[Ranking] = []
    path: list[Step] = []
    timings: dict[str, float] = {}
    for step in steps(task.question.intent, task.config.max_repairs):
        stop.check()
        start = time.perf_counter()
        path.append(step)
        if step is Step.REPAIR:
            attempt = Attempt(task=task, repair=attempt.repair + 1)
        else:
            STEPS[step](attempt)
        if step is Step.RETRIEVE:
            rankings.append(attempt.ranking)
        if step is Step.VERIFY and attempt.verdict.score > best.verdict.score:
            best = attempt
        timings[step] = timings.get(step, 0.0) + (time.perf_counter() - start) * 1000
        if step is Step.VERIFY and attempt.verdict.score >= task.config.accept_threshold:
            break
    return Run(best=best, path=tuple(path), rankings=rankings, timings_ms=timings)
