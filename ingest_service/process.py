"""Worker processes as the service sees them."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from rag_papers.errors import BY_REASON, Internal, WorkerLost

_LONGEST_LINE = 16 << 20


async def run_worker(
    module: str,
    task: Any,
    on_update: Callable[[dict[str, Any]], None],
    silence_seconds: float | None = None,
) -> dict[str, Any]:
    """Runs `module` in a process of its own on `task`, a dataclass; returns what it is done with.

    Raises the RagError that the worker reports, or WorkerLost if it cannot be started, ends without a word or says
    nothing for `silence_seconds`. Cancelling the call kills the process: whatever it has written is either complete in
    the cache or scrap in the staging directory.
    """
    process = await _start(module)
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(dataclasses.asdict(task)).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        while True:
            try:
                text = await asyncio.wait_for(process.stdout.readline(), silence_seconds)
            except TimeoutError:
                raise WorkerLost(f"the worker process gave no sign of life for {silence_seconds:g} s") from None
            if not text.endswith(b"\n"):  # the worker ended, or died while it wrote
                break
            for kind, content in json.loads(text).items():
                match kind:
                    case "update":
                        on_update(content)
                    case "done":
                        return dict(content)
                    case "failed":
                        raise BY_REASON.get(content["reason"], Internal)(content["message"])
        code = await process.wait()
        raise WorkerLost(f"the worker process ended without a result ({_describe(code)})")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        process.stdin.close()


async def _start(module: str) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a directory called like the service, where it happens to run, is not the service
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerLost(f"no worker process can be started: {error}") from error


def _describe(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
