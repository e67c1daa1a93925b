"""Several processes of one service on one port: the kernel gives each connection to one of them (SO_REUSEPORT).

This process serves nothing. It keeps the port, starts the others and replaces those that end; if it dies itself,
however it does, they drain.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from rag_papers.rpc.server import READY, configure_logging, on_stop
from rag_papers.settings import Settings

logger = logging.getLogger(__name__)

_MARGIN_SECONDS = 5.0  # how much longer than its drain a process may take to end
_SHORT_LIFE_SECONDS = 10.0  # one that ends earlier is followed after a pause, ...
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # ... which doubles each time


def run_processes(command: Sequence[str], count: int, address: str, settings: Settings) -> int:
    """Runs `command` in `count` processes until SIGTERM or SIGINT; returns the exit code.

    `--query-address HOST:PORT` is added to the command: it is to serve there, sharing the port, to print READY and the
    address when it does, and to drain at SIGTERM or at the end of stdin. Prints the same line once they all serve.
    """
    configure_logging(settings)
    try:
        with reserved(address) as actual:
            whole = (*command, "--query-address", actual)
            return asyncio.run(_Processes(whole, actual, settings.drain_seconds).run(count))
    except OSError as error:
        logger.error("cannot listen at %s: %s", address, error)
        return 1


@contextlib.contextmanager
def reserved(address: str) -> Iterator[str]:
    """Keeps a port for processes that share it: HOST:PORT, where port 0 has become a free one. Raises OSError."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as alone:
        # Without sharing first: whoever else is there already must not get half of the calls.
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(place)
    with socket.socket(family, kind, protocol) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(place)  # it never listens, so that no connection comes to it
        yield f"{host}:{kept.getsockname()[1]}"


class _Processes:
    """The processes, from their start to their end."""

    def __init__(self, command: Sequence[str], address: str, drain_seconds: float) -> None:
        self._command = command
        self._address = address
        self._stop_seconds = drain_seconds + _MARGIN_SECONDS
        self._stopping = asyncio.Event()
        self._running: set[asyncio.subprocess.Process] = set()
        self._code = 0

    async def run(self, count: int) -> int:
        """Keeps `count` of them running until it is told to stop; returns the exit code."""
        on_stop(self._stopping.set)
        # They read a pipe that nobody writes to: it ends with this process, even if that is killed.
        lifeline, held = os.pipe()
        try:
            readies = [asyncio.Event() for _ in range(count)]
            keepers = [asyncio.create_task(self._keep(ready, lifeline)) for ready in readies]
            everyone = asyncio.create_task(_all_set(readies))
            stopped = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([everyone, stopped], return_when=asyncio.FIRST_COMPLETED)
            if everyone.done():
                sys.stdout.write(f"{READY}{self._address}\n")
                sys.stdout.flush()
            await stopped
            everyone.cancel()
            await self._end()
            await asyncio.gather(*keepers)
        finally:
            os.close(lifeline)
            os.close(held)
        return self._code

    async def _keep(self, ready: asyncio.Event, lifeline: int) -> None:
        """Keeps one process running: the next one follows where one ends by itself."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            start = time.monotonic()
            code = await self._live(ready, lifeline)
            if self._stopping.is_set():
                if code not in (0, -signal.SIGTERM):
                    self._code = 1
            elif not ready.is_set():
                self._code = code if code > 0 else 1
                self._stopping.set()
            else:
                pause = (
                    min(2 * pause, _LONGEST_PAUSE) if time.monotonic() - start < _SHORT_LIFE_SECONDS else _FIRST_PAUSE
                )
                logger.error("a process ended by itself (%d); another one starts in %.1f s", code, pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    async def _live(self, ready: asyncio.Event, lifeline: int) -> int:
        """One process from its start to its end; returns its exit code."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=lifeline,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "RAG_EXIT_ON_STDIN_EOF": "1"},
        )
        self._running.add(process)
        try:
            if self._stopping.is_set():
                process.terminate()
            assert process.stdout
            async for line in process.stdout:
                if line.startswith(READY.encode()):
                    logger.info("process %d serves", process.pid)
                    ready.set()
            return await process.wait()
        finally:
            self._running.discard(process)

    async def _end(self) -> None:
        """Lets every process drain, and kills those that take too long."""
        for process in self._running:
            process.terminate()
        end = time.monotonic() + self._stop_seconds
        while self._running and (left := end - time.monotonic()) > 0:
            waits = [asyncio.create_task(process.wait()) for process in self._running]
            await asyncio.wait(waits, timeout=left)
            await asyncio.sleep(0)
        for process in self._running:
            logger.error("process %d did not drain in time and is killed", process.pid)
            process.kill()


async def _all_set(events: Sequence[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
