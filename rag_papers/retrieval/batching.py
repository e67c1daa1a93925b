"""Calls that arrive together, worked on together."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Gatherer(Generic[In, Out]):
    """Passes the items of concurrent callers to one piece of work in batches.

    A caller that finds nobody at work runs at once, so that a lone one never waits; those that come meanwhile are
    served together by the next run, which one of them does for all. There is no timer and no thread of its own.
    """

    def __init__(self, work: Callable[[list[In]], list[Out]], *, most: int) -> None:
        """`work` gives an outcome for each item, in order; it is never run twice at once, with at most `most` items."""
        self._work = work
        self._most = most
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: deque[_Call[In, Out]] = deque()

    def __call__(self, item: In) -> Out:
        """The outcome of `item`. Raises what the work raises for it, whatever it is gathered with."""
        call: _Call[In, Out] = _Call(item)
        with self._lock:
            self._waiting.append(call)
            runs = not self._busy
            self._busy = True
        if not runs:
            call.woken.wait()
        if not call.done:  # it is this caller's turn to run
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._run(batch)
            self._hand_over()  # before those that have their outcome wake: the next batch should not wait for them
            for served in batch:
                served.done = True
                served.woken.set()
        if call.error is not None:
            raise call.error
        return call.outcome

    def _run(self, batch: "list[_Call[In, Out]]") -> None:
        try:
            for call, outcome in zip(batch, self._work([call.item for call in batch]), strict=True):
                call.outcome = outcome
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, Exception):
                for call in batch:  # so that one that cannot be worked on fails alone
                    self._run([call])
            else:
                for call in batch:
                    call.error = error

    def _hand_over(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting[0].woken.set()
            else:
                self._busy = False


class _Call(Generic[In, Out]):
    """An item on its way."""

    outcome: Out

    def __init__(self, item: In) -> None:
        self.item = item
        self.error: BaseException | None = None
        self.done = False
        self.woken = threading.Event()
        """Set when it is done, or when its caller is to run the next batch, which begins with it."""
