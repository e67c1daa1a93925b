"""Workers: the threads for what must not hold up the event loop."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from query_service.stop import Stop

_T = TypeVar("_T")


class Workers:
    """A bounded number of threads."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="query")

    async def run(self, work: Callable[[], _T], stop: Stop) -> _T:
        """What `work` returns; `stop` is told if whoever awaits it is cancelled."""
        stop.check()
        # The context carries the call's trace id into the log lines of the thread.
        call = contextvars.copy_context()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call.run, work)
        except asyncio.CancelledError:
            stop.client_left()
            raise

    def start(self, work: Callable[[], object]) -> None:
        """Lets `work`, which must not fail, be done in the background."""
        self._executor.submit(work)

    def close(self) -> None:
        """Ends with what is running."""
        self._executor.shutdown(cancel_futures=True)
