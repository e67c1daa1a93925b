"""Running a plan: attempt after attempt until one is accepted or the plan is at its end.

Text is said only when nothing can replace it any more. Where no repair is allowed that is at once, as the generator
writes it; else when the attempt is accepted, or, if none is, at the end.

A deadline is a budget of the whole plan. What the answer can do without gives way first: reranking gets half of the
time that is left, and a repair begins only if there is time for as much as the first attempt took.
"""

import dataclasses
import itertools
import math
import time

from query_service.events import Listener, Said, Sourced, Started, Verified, to_nobody
from query_service.generators.base import keep_to_oneself
from query_service.plan import PLANS, Step, steps
from query_service.retrieving import Ranking
from query_service.steps import STEPS, Attempt, Task, keep_fused_order
from query_service.stop import OutOfBudget, Stop

_RERANK_SHARE = 0.5  # of the time that is left
_REPAIR_SHARE = 0.9  # of the time that is left; the rest is for sending what there is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A plan that ran."""

    best: Attempt
    """The attempt with the highest score, of equals the first."""
    path: tuple[Step, ...]
    """The steps that ran, in order."""
    skipped: tuple[Step, ...]
    """The steps that were left out, or broken off, for want of time: with more of it the answer may be another."""
    rankings: tuple[Ranking, ...]
    """Of every attempt."""
    timings_ms: dict[str, float]
    """By step; one that ran more than once has its sum."""


def run(task: Task, stop: Stop, listener: Listener = to_nobody) -> Run:
    """Answers a question. Raises DeadlineExceeded between two steps, and whatever a step raises."""
    return _Runner(task, stop, listener).run()


def context(task: Task) -> Attempt:
    """The first attempt at an answer as far as before it is written: what it would be written from. Raises as `run`."""
    attempt = Attempt(task=task, repair=0, say=keep_to_oneself)
    for step in itertools.takewhile(Step.GENERATE.__ne__, PLANS[task.question.intent]):
        task.stop.check()
        STEPS[step](attempt)
    return attempt


class _Runner:
    """One run of one plan."""

    def __init__(self, task: Task, stop: Stop, listener: Listener) -> None:
        self._task = task
        self._stop = stop
        self._tell = listener
        self._path: list[Step] = []
        self._skipped: list[Step] = []
        self._rankings: list[Ranking] = []
        self._timings: dict[str, float] = {}
        self._said = ""

    def run(self) -> Run:
        task = self._task
        repairs = task.config.max_repairs
        self._tell(
            Started(
                steps=steps(task.question.intent, repairs),
                question=task.question,
                config=task.config,
                corpus_id=task.index.corpus_id,
            )
        )
        start = time.monotonic()
        best = self._attempt(0, is_last=repairs == 0)
        took = time.monotonic() - start
        for repair in range(1, repairs + 1):
            if best.is_accepted:
                break
            attempt = self._repair(repair, took)
            if attempt is None:
                break
            if attempt.verdict.score > best.verdict.score:
                best = attempt
        self._say_rest(best)
        return Run(
            best=best,
            path=tuple(self._path),
            skipped=tuple(self._skipped),
            rankings=tuple(self._rankings),
            timings_ms=self._timings,
        )

    def _attempt(self, repair: int, *, is_last: bool = False) -> Attempt:
        attempt = Attempt(task=self._task, repair=repair, say=self._say if is_last else self._hold_back)
        for step in PLANS[self._task.question.intent]:
            if step is Step.GENERATE:
                self._tell(Sourced(passages=attempt.passages))
            self._step(step, attempt)
        if is_last or attempt.is_accepted:
            self._say_rest(attempt)
        verdict = attempt.verdict
        self._tell(Verified(score=verdict.score, accepted=attempt.is_accepted, issues=verdict.issues))
        return attempt

    def _repair(self, repair: int, took: float) -> Attempt | None:
        """Another attempt; None if there is no time for it, the first one having taken `took` seconds."""
        budget = _REPAIR_SHARE * self._stop.seconds_left
        if budget >= took:
            self._path.append(Step.REPAIR)
            self._timings.setdefault(Step.REPAIR, 0.0)
            try:
                with self._stop.budget(budget):
                    return self._attempt(repair)
            except OutOfBudget:
                pass
        self._skipped.append(Step.REPAIR)
        return None

    def _step(self, step: Step, attempt: Attempt) -> None:
        self._stop.check()
        start = time.perf_counter()
        try:
            with self._stop.budget(_RERANK_SHARE * self._stop.seconds_left if step is Step.RERANK else math.inf):
                STEPS[step](attempt)
            self._path.append(step)
        except OutOfBudget:
            if step is not Step.RERANK:
                raise
            keep_fused_order(attempt)
            self._skipped.append(step)
        self._timings[step] = self._timings.get(step, 0.0) + (time.perf_counter() - start) * 1000
        if step in (Step.RETRIEVE, Step.RETRIEVE_SIDES):
            self._rankings.append(attempt.ranking)

    def _hold_back(self, text: str) -> None:
        self._stop.check()

    def _say(self, text: str) -> None:
        self._stop.check()
        if text:
            self._said += text
            self._tell(Said(text=text))

    def _say_rest(self, attempt: Attempt) -> None:
        """Says what is left of the answer."""
        if not attempt.text.startswith(self._said):
            raise RuntimeError(f"{self._task.generator.identity} said what is not in its answer")
        self._say(attempt.text[len(self._said) :])
