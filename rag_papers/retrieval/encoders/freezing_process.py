"""Freezing in a process of its own.

What freezing loads, torch before all, is gone when it ends, and nothing that was loaded before disturbs it.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.encoders.base import FP32
from rag_papers.retrieval.encoders.freezing import NotFreezable, freeze
from rag_papers.retrieval.models import ModelFiles


def freeze_apart(files: ModelFiles, directory: Path, precision: str = FP32) -> None:
    """Does what `freeze` does, and raises what it raises."""
    task = {"name": files.name, "path": str(files.path), "directory": str(directory), "precision": precision}
    # -P: a directory called like a package, where this happens to run, is not the package.
    command = [sys.executable, "-P", "-m", __name__]
    # No buffer: what a process that has died did not take would be written once more when its pipe is closed.
    with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(task).encode() + b"\n")  # and left open: the process ends when it closes
        answer = process.stdout.read()
    match json.loads(answer or "{}"):
        case {"done": _}:
            return
        case {"errno": number, "message": message}:
            raise OSError(number, message)
        case {"unavailable": message}:
            raise ModelUnavailable(message, model=files.name)
        case {"not_freezable": message}:
            raise NotFreezable(message)
    raise NotFreezable(f"the process that froze it ended with exit code {process.returncode}")


def main() -> int:
    """Freezes one model, as stdin says, and answers with one line on stdout."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
        logging.basicConfig(format="%(asctime)s %(levelname)s freezing %(message)s")  # libraries' warnings alone
        logging.getLogger("rag_papers").setLevel(logging.INFO)
        task = json.loads(sys.stdin.buffer.readline())
        threading.Thread(target=_end_with_the_caller, daemon=True).start()
        answer.write(json.dumps(_outcome(task)))
    return 0


def _outcome(task: dict[str, str]) -> dict[str, Any]:
    try:
        freeze(ModelFiles(name=task["name"], path=Path(task["path"])), Path(task["directory"]), task["precision"])
    except OSError as error:
        return {"errno": error.errno, "message": error.strerror or str(error)}
    except ModelUnavailable as error:
        return {"unavailable": error.message}
    except NotFreezable as error:
        return {"not_freezable": str(error)}
    return {"done": True}


def _end_with_the_caller() -> None:
    while os.read(0, 1024):  # past the buffer, whose lock would be held when the process ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
