"""How fast passages are embedded, and how long the rest takes."""

import dataclasses
import time
from collections import deque

from rag_papers.persist.embedding_cache import Advance

_WINDOW_SECONDS = 10.0
_FEWEST_BATCHES = 5  # of a model so slow that a window holds no more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """What to tell people. Both are None until two batches have been computed, the remaining time until all is read."""

    passages_per_second: float | None = None
    """Passages that the model embedded in a second; those found in the cache do not count."""
    remaining_seconds: float | None = None
    """Until every passage has its vector."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Batch:
    """The state when a batch was done, counted from the beginning."""

    time: float
    passages: int
    characters: int


class Pace:
    """Measures the embedding over its last ten seconds, from the end of its first batch on: before, the model loads.

    While papers are still being read nobody knows how much there is to do, and no remaining time is told.

    Work is measured in characters of what the model computes, because batches come in order of length: passages a
    second fall from the first batch to the last. What the cache had does not count as work. What is still to be looked
    up there counts as if all of it had to be computed, each as long as those before it on average: the estimate may
    turn out too long, as when a job resumes, not too short.
    """

    def __init__(self) -> None:
        self._expected: int | None = None
        self._skipped = 0
        self._batches: deque[_Batch] = deque()
        self._done = Advance()
        self._current = Advance()

    def expect(self, passages: int) -> None:
        """Notes how many passages there are to embed in all."""
        self._expected = passages

    def skip(self, passages: int) -> None:
        """Notes that so many of them need not be looked up."""
        self._skipped += passages

    def advance(self, advance: Advance) -> None:
        """Notes how far the window of passages that is being embedded has come."""
        self._current = advance
        now = _Batch(
            time=time.monotonic(),
            passages=self._done.computed + advance.computed,
            characters=self._done.computed_characters + advance.computed_characters,
        )
        self._batches.append(now)
        while len(self._batches) > _FEWEST_BATCHES and self._batches[1].time < now.time - _WINDOW_SECONDS:
            self._batches.popleft()

    def next_window(self) -> None:
        """Notes that the window is complete."""
        self._done = self._done + self._current
        self._current = Advance()

    def now(self) -> Speed:
        """The speed at this moment; asked again between two batches the time counts down, but not for a late batch."""
        if len(self._batches) < 2:
            return Speed()
        first, last = self._batches[0], self._batches[-1]
        if first.time == last.time:
            return Speed()
        batch_seconds = (last.time - first.time) / (len(self._batches) - 1)
        waited = time.monotonic() - last.time
        seconds = last.time - first.time + max(0.0, waited - batch_seconds)
        seen = self._done + self._current
        speed = Speed(passages_per_second=round((last.passages - first.passages) / seconds, 1))
        if self._expected is None:
            return speed
        unseen = max(0, self._expected - self._skipped - seen.passages) * seen.characters / seen.passages
        work = seen.missing_characters - seen.computed_characters + unseen
        whole = seconds * work / (last.characters - first.characters)
        return dataclasses.replace(speed, remaining_seconds=round(max(0.0, whole - min(waited, batch_seconds)), 1))
