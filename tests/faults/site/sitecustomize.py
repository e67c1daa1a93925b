"""Loaded by every Python process that has this directory in PYTHONPATH: lets the service, its workers and their parsers
die by kill -9 at a point that a test chose, and notes every point that they come to.

A point is a line: who, what, on which file, for the how manyth time in the life of the process, and when: before it,
after it, or amid it. The directory FAULTS holds in `armed` the point to die at, which the process that dies there
removes, in `held` the one to wait at until that file is gone, and in `passed` the points that were come to. The
services know nothing of this.
"""

import io
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAULTS"])
LOG = "jobs.jsonl"
LINES = 50
"""After how many lines of a .jsonl file a worker comes to a point."""

MODULES = {"ingest_service": "service", "ingest_service.worker": "worker", "ingest_service.parser": "parser"}
WHO = next((MODULES[argument] for argument in sys.orig_argv if argument in MODULES), "")


def named(path: Any) -> str:
    """The last part of a path, without what is different in every run."""
    name = Path(os.fsdecode(path)).name
    name = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "JOB", name)
    name = re.sub(r"\b[0-9a-f]{16}\b", "INDEX", name)
    name = re.sub(r"^\.(.+)\.[0-9a-f]{8}$", r"\1~", name)
    return re.sub(r"\.[0-9a-f]{8}\.removed$", ".removed", name)


def note(line: str) -> None:
    os.write(_passed, line.encode() + b"\n")


def point(what: str, name: str, when: str) -> bool:
    """Notes the point; whether it is the one to die at."""
    key = (what, name, when)
    _times[key] += 1
    line = f"{WHO} {what} {name} {_times[key]} {when}"
    note(line)
    while line == _held and (FOLDER / "held").exists():
        time.sleep(0.005)
    return line == _armed


def die() -> None:
    (FOLDER / "armed").unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def at(what: str, name: str, when: str) -> None:
    if point(what, name, when):
        die()


def around(what: str, name_of: Any, call: Any) -> Any:
    """`call` with a point before it and one after it."""

    def called(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args)
        at(what, name, "before")
        result = call(*args, **kwargs)
        at(what, name, "after")
        return result

    return called


class Torn(io.FileIO):
    """A file that may be written in part."""

    name_of_points = ""

    def write(self, data: Any) -> int:
        at("write", self.name_of_points, "before")
        if point("write", self.name_of_points, "amid"):
            super().write(data[: len(data) // 2])
            die()
        written = super().write(data)
        at("write", self.name_of_points, "after")
        return written


class JobLogFile(Torn):
    name_of_points = LOG


class AnswersFile(Torn):
    name_of_points = "answers"


def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    if mode == "a+b" and named(file) == LOG:
        return JobLogFile(file, "a+")
    if WHO == "parser" and isinstance(file, int) and mode == "wb":
        return AnswersFile(file, "w")
    return _open(file, mode, *args, **kwargs)


def audit(event: str, args: Any) -> None:
    if event != "open" or not isinstance(args[0], str | bytes):
        return
    path = os.fsdecode(args[0])
    if "/papers/" in path:
        at("read", named(path), "before")
    elif args[2] & os.O_CREAT and "/indexes/" in path:
        at("create", named(path), "before")


def watch_worker() -> None:
    from ingest_service import readers, talking
    from rag_papers.persist.sqlite_store import SqliteStore

    put_many, send, read_lines = SqliteStore.put_many, talking.send, readers.READERS[".jsonl"]

    def stored(store: Any, table: Any, items: Any) -> None:
        note(f"computed {len(items)}")
        around("store", lambda *_: str(table), put_many)(store, table, items)

    def sent(kind: str, content: Any) -> None:
        if kind != "done":  # the others come as time goes by
            return send(kind, content)
        at("send", kind, "before")
        if point("send", kind, "amid"):
            talking._reports.write(b'{"done": {')
            talking._reports.flush()
            die()
        send(kind, content)
        at("send", kind, "after")

    def lines(path: str, *args: Any) -> Any:
        for number, document in enumerate(read_lines(path, *args), 1):
            yield document
            if number % LINES == 0:
                at("line", named(path), "after")

    SqliteStore.put_many = stored  # type: ignore[method-assign]
    talking.send = sent
    readers.READERS[".jsonl"] = lines  # type: ignore[index]


def watch_parser() -> None:
    import pypdfium2

    class Watched(pypdfium2.PdfDocument):  # type: ignore[misc]
        def __getitem__(self, number: int) -> Any:
            at("page", str(number), "before")
            return super().__getitem__(number)

    pypdfium2.PdfDocument = Watched


if WHO:
    _times: Counter[tuple[str, str, str]] = Counter()
    _passed = os.open(FOLDER / "passed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _armed, _held = (path.read_text() if path.exists() else "" for path in (FOLDER / "armed", FOLDER / "held"))
    _open = io.open
    io.open = opened  # type: ignore[assignment]
    os.fsync = around("fsync", lambda fd: named(Path(f"/proc/self/fd/{fd}").readlink()), os.fsync)
    os.rename = around("rename", lambda source, target: named(target), os.rename)
    os.replace = around("replace", lambda source, target: named(target), os.replace)
    shutil.rmtree = around("rmtree", lambda path, *_: named(path), shutil.rmtree)
    sys.addaudithook(audit)
    {"worker": watch_worker, "parser": watch_parser}.get(WHO, lambda: None)()
