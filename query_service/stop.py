"""When the work of a call must stop: its client went away, or its deadline has passed."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from rag_papers.errors import DeadlineExceeded


class OutOfBudget(DeadlineExceeded):
    """The time that a step was given is used up; the deadline of the call has not passed."""


class Stop:
    """Tells the threads that work for a call whether anyone still waits for it."""

    def __init__(self, seconds: float | None = None) -> None:
        """`seconds` is the time that is left; None: as long as it takes."""
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._budget_end = math.inf
        self._lock = threading.Lock()
        self._gone = False
        self._callbacks: list[Callable[[], object]] = []

    def client_left(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._gone = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @property
    def seconds_left(self) -> float:
        """Of the deadline, or of the budget within `budget`; infinite without one, not negative."""
        return max(0.0, min(self._end, self._budget_end) - time.monotonic())

    def check(self) -> None:
        """Raises DeadlineExceeded if the work is in vain, and OutOfBudget if only the budget is used up."""
        if self._gone:
            raise DeadlineExceeded("the caller has gone")
        now = time.monotonic()
        if now >= self._end:
            raise DeadlineExceeded("the deadline has passed before the answer was ready")
        if now >= self._budget_end:
            raise OutOfBudget("the step has used up its time")

    @contextlib.contextmanager
    def budget(self, seconds: float) -> Iterator[None]:
        """Gives a part of the work `seconds` of what is left. For the thread that does the call's work alone."""
        before = self._budget_end
        self._budget_end = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._budget_end = before

    @contextlib.contextmanager
    def when_client_leaves(self, callback: Callable[[], object]) -> Iterator[None]:
        """Calls `callback`, from another thread, if the client leaves meanwhile; at once if it has left already.

        For work that waits where it cannot `check`: the callback ends the waiting.
        """
        with self._lock:
            gone = self._gone
            if not gone:
                self._callbacks.append(callback)
        if gone:
            callback()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)
