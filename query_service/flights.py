"""Single flight: of several callers that want the same, one does the work and the others wait for what it makes.

Within a process they wait for the leader, across processes for its claim. A leader that fails, is cancelled, runs out
of time, or ends up with what only it can use, is succeeded by one of those that wait: each of them gets what it would
have got alone, under its own deadline.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_threads
from typing import Generic, TypeVar

from query_service.stop import Stop
from rag_papers.persist.claims import Claims

_T = TypeVar("_T")

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.02  # seconds between two looks at another process's claim, or at one's own deadline


class Flights(Generic[_T]):
    """The work that is under way, by key. Safe to use from several threads."""

    def __init__(self, claims: Claims | None) -> None:
        """Without `claims` other processes have nothing to do with it."""
        self._claims = claims
        self._lock = threading.Lock()
        self._under_way: dict[bytes, Future[_T | None]] = {}

    def run(self, key: bytes, stop: Stop, work: Callable[[], _T]) -> tuple[_T, bool]:
        """What `work` makes, and whether it was made for this caller; for threads.

        `work` begins by looking whether it is done already, by another process. Raises DeadlineExceeded, and what
        `work` raises.
        """
        while True:
            leads, flight = self._join(key)
            if leads:
                with self._leading(key, flight):
                    for pause in self._pauses(key):
                        stop.check()
                        time.sleep(pause)
                    made = work()
                    flight.set_result(made)
                    return made, True
            while not wait_for_threads([flight], timeout=_LONGEST_PAUSE).done:
                stop.check()
            result = flight.result()
            if result is not None:
                return result, False

    async def fly(
        self, key: bytes, stop: Stop, work: Callable[[], Awaitable[_T]], is_shared: Callable[[_T], bool]
    ) -> tuple[_T, bool]:
        """As `run`, for tasks, none of which keeps a thread waiting; only what `is_shared` is given to the others."""
        while True:
            leads, flight = self._join(key)
            if leads:
                with self._leading(key, flight):
                    for pause in self._pauses(key):
                        stop.check()
                        await asyncio.sleep(pause)
                    made = await work()
                    if is_shared(made):
                        flight.set_result(made)
                    return made, True
            with contextlib.suppress(TimeoutError):
                # Shielded: one who no longer waits must not cancel what the others wait for.
                await asyncio.wait_for(
                    asyncio.shield(asyncio.wrap_future(flight)),
                    None if stop.seconds_left == math.inf else stop.seconds_left,
                )
            stop.check()
            if flight.done() and (result := flight.result()) is not None:
                return result, False

    def _join(self, key: bytes) -> tuple[bool, "Future[_T | None]"]:
        """Whether the caller leads, and the flight."""
        with self._lock:
            if flight := self._under_way.get(key):
                return False, flight
            flight = self._under_way[key] = Future()
            return True, flight

    @contextlib.contextmanager
    def _leading(self, key: bytes, flight: "Future[_T | None]") -> Iterator[None]:
        try:
            yield
        finally:
            if self._claims:
                self._claims.release(key)
            with self._lock:
                del self._under_way[key]
            if not flight.done():
                flight.set_result(None)

    def _pauses(self, key: bytes) -> Iterator[float]:
        """How long to wait, again and again, until the work is this process's; seconds."""
        pause = _FIRST_PAUSE
        while self._claims and not self._claims.claim(key):
            yield pause
            pause = min(2 * pause, _LONGEST_PAUSE)
