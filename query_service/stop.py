"""When the work of a call must stop: its client went away, or its deadline has passed."""

import threading
import time

from rag_papers.errors import DeadlineExceeded


class Stop:
    """Tells the threads that work for a call whether anyone still waits for it."""

    def __init__(self, seconds: float | None = None) -> None:
        """`seconds` is the time that is left; None: as long as it takes."""
        self._end = None if seconds is None else time.monotonic() + seconds
        self._gone = threading.Event()

    def client_left(self) -> None:
        """Nobody waits any more."""
        self._gone.set()

    def check(self) -> None:
        """Raises DeadlineExceeded if the work is in vain."""
        if self._gone.is_set():
            raise DeadlineExceeded("the caller has gone")
        if self._end is not None and time.monotonic() >= self._end:
            raise DeadlineExceeded("the deadline has passed before the answer was ready")
