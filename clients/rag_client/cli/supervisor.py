"""Runs the services as child processes: waits until they are ready, and sees to it that none outlives the rest."""

import dataclasses
import enum
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import assert_never

import click

from rag_client.cli.exits import complain

READY = "ready "
"""What a service prints on stdout, followed by its address, when it answers calls."""


class End(enum.Enum):
    """How a run ended."""

    STOPPED = "stopped by a signal after the services were ready"
    NEVER_READY = "stopped by a signal before that"
    REFUSED = "a service refused its settings"
    FAILED = "a service failed"
    KILLED = "the person at the terminal would not wait"


@dataclasses.dataclass(frozen=True)
class _Ready:
    name: str
    address: str


@dataclasses.dataclass(frozen=True)
class _Exited:
    name: str
    code: int


@dataclasses.dataclass(frozen=True)
class _Signal:
    number: int


class Supervisor:
    """One run of some services, by name and command line."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        ready_seconds: float,
        stop_seconds: float,
        on_ready: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._commands = commands
        self._ready_seconds = ready_seconds
        self._stop_seconds = stop_seconds
        self._on_ready = on_ready
        # A SimpleQueue may be put into from a signal handler, which nothing with a lock of its own may.
        self._events: queue.SimpleQueue[_Ready | _Exited | _Signal] = queue.SimpleQueue()
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._addresses: dict[str, str] = {}
        self._end: End | None = None
        self._deadline: float | None = None

    def run(self) -> End:
        """Runs the services until they have all ended; `on_ready` gets their addresses by name."""
        self._deadline = time.monotonic() + self._ready_seconds
        with self._signals(), self._children():
            while self._running:
                try:
                    event = self._events.get(timeout=self._deadline and max(0.0, self._deadline - time.monotonic()))
                except queue.Empty:
                    self._out_of_patience()
                    continue
                match event:
                    case _Ready():
                        self._note_ready(event)
                    case _Exited():
                        self._note_exit(event)
                    case _Signal():
                        self._note_signal(event)
                    case _:
                        assert_never(event)
        return self._end or End.FAILED

    @property
    def _ready(self) -> bool:
        return len(self._addresses) == len(self._commands)

    @property
    def _by_signal(self) -> bool:
        return self._end in (End.STOPPED, End.NEVER_READY)

    def _note_ready(self, event: _Ready) -> None:
        self._addresses[event.name] = event.address
        if self._ready and not self._end:
            self._deadline = None
            self._on_ready({name: self._addresses[name] for name in self._commands})

    def _note_exit(self, event: _Exited) -> None:
        group = self._running.pop(event.name).pid
        # What it left behind in its process group has nobody to report to any more.
        _signal_group(group, signal.SIGKILL)
        if not self._end:
            complain(f"{event.name} ended by itself {_how(event.code)}")
            # argparse's own code for bad flags; the service has said which.
            refused = event.code == 2 and event.name not in self._addresses
            self._stop(End.REFUSED if refused else End.FAILED)
        elif self._by_signal and event.code not in (0, -signal.SIGTERM):
            complain(f"{event.name} did not stop cleanly: it ended {_how(event.code)}")
            self._end = End.FAILED

    def _note_signal(self, event: _Signal) -> None:
        if not self._end:
            click.echo("stopping; another Ctrl-C does not wait", err=True)
            self._stop(End.STOPPED if self._ready or event.number != signal.SIGINT else End.NEVER_READY)
        elif event.number == signal.SIGINT:
            if self._by_signal:
                self._end = End.KILLED
            self._kill()

    def _out_of_patience(self) -> None:
        late = ", ".join(name for name in self._running if self._end or name not in self._addresses)
        if self._end:
            complain(f"{late} did not stop within {self._stop_seconds:g} s and is killed")
            self._end = End.FAILED
            self._kill()
        else:
            complain(f"{late} was not ready within {self._ready_seconds:g} s")
            self._stop(End.FAILED)

    def _stop(self, end: End) -> None:
        self._end = end
        self._deadline = time.monotonic() + self._stop_seconds
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._deadline = None
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGKILL)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, _frame: object) -> None:
            self._events.put(_Signal(number))

        wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            wanted.remove(signal.SIGHUP)  # started by nohup, to go on without its terminal
        before = {number: signal.signal(number, note) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _children(self) -> Iterator[None]:
        # The services read a pipe that nobody writes to: it ends with this process, even if that is killed.
        lifeline, held = os.pipe()
        try:
            for name, command in self._commands.items():
                self._start(name, command, lifeline)
            os.close(lifeline)
            yield
        finally:
            self._kill()
            os.close(held)

    def _start(self, name: str, command: Sequence[str], lifeline: int) -> None:
        # A session of its own keeps the terminal's Ctrl-C away: this process alone decides how its children end.
        process = subprocess.Popen(
            command,
            stdin=lifeline,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "RAG_EXIT_ON_STDIN_EOF": "1"},
        )
        self._running[name] = process
        # Two threads, because a worker that outlives its service may hold stdout open.
        threading.Thread(target=self._wait, args=(name, process), daemon=True).start()
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _wait(self, name: str, process: subprocess.Popen[str]) -> None:
        self._events.put(_Exited(name, process.wait()))

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # it is a pipe, as asked for above
        with process.stdout:
            for line in process.stdout:
                if line.startswith(READY):
                    self._events.put(_Ready(name, line.removeprefix(READY).strip()))
                else:
                    sys.stderr.write(line)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # it has ended meanwhile, which is what was wanted


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"
