"""`rag serve`: two children that start, stop and die together. The services here are stand-ins of a few lines."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Does what FAKE_<NAME> says, and leaves a line in <name>.log for all that happens to it.
_SERVICE = """
import os, signal, sys, threading, time
name = {name!r}
here = os.path.dirname(__file__)
behaviour = os.environ.get("FAKE_" + name.upper(), "")

def note(text):
    with open(os.path.join(here, name + ".log"), "a") as log:
        log.write(text + "\\n")

def on_term(number, frame):
    note("term")
    if behaviour != "stubborn":
        sys.exit(7 if behaviour == "untidy" else 0)

def on_eof():
    sys.stdin.read()
    note("eof")
    os._exit(0)

signal.signal(signal.SIGTERM, on_term)
signal.signal(signal.SIGINT, lambda number, frame: note("int"))
note("args " + " ".join(sys.argv[1:]))
if os.environ.get("RAG_EXIT_ON_STDIN_EOF") == "1":
    threading.Thread(target=on_eof, daemon=True).start()
sys.stderr.write("log of " + name + "\\n")  # in one piece: two services share the stream
if behaviour == "refuse":
    sys.exit(2)
if behaviour != "slow":
    print("ready 127.0.0.1:" + {port!r}, flush=True)
note("pid %d" % os.getpid())
open(os.path.join(here, name + ".up"), "w").close()
if behaviour == "die":
    # Not before the other one can note that it is told to stop.
    while not os.path.exists(os.path.join(here, "query.up")):
        time.sleep(0.01)
    sys.exit(3)
while True:
    time.sleep(60)
"""

# The margin is cut so that a test need not wait for it. SIGINT: see a shell's background jobs, which ignore it.
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from rag_client.cli import serve
serve._MARGIN_SECONDS = float(sys.argv.pop(1))
serve.serve()
"""


class Served:
    """A `rag serve` under test."""

    def __init__(self, home: Path, *args: str, margin: float = 60.0, **behaviour: str) -> None:
        self.home = home
        env = {**os.environ, "PYTHONPATH": str(home), **{f"FAKE_{k.upper()}": v for k, v in behaviour.items()}}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(margin), *args],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def until_ready(self) -> list[str]:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1].startswith(("ready", "{")):
                return lines
        raise AssertionError(f"never ready: {lines} {self.process.stderr.read()}")

    def until_noted(self, name: str, text: str) -> None:
        for _ in range(3000):
            if text in self.noted(name):
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} never noted {text!r}: {self.noted(name)}")

    def noted(self, name: str) -> str:
        log = self.home / f"{name}.log"
        return log.read_text() if log.exists() else ""

    def end(self, *signals: int) -> tuple[int, str, str]:
        for number in signals:
            self.process.send_signal(number)
        stdout, stderr = self.process.communicate()
        return self.process.returncode, stdout, stderr

    def children(self) -> list[int]:
        return [
            int(line.split()[1])
            for name in ("ingest", "query")
            for line in self.noted(name).splitlines()
            if line.startswith("pid ")
        ]


@pytest.fixture
def start(tmp_path) -> Iterator:
    for name, port in (("ingest", "7001"), ("query", "7002")):
        (tmp_path / f"{name}_service.py").write_text(_SERVICE.format(name=name, port=port))
    started: list[Served] = []

    def run(*args: str, **options) -> Served:
        started.append(Served(tmp_path, *args, **options))
        return started[-1]

    yield run
    for served in started:
        served.process.kill()
        served.process.communicate()
        for child in served.children():
            assert not _alive(child), "a service outlived its supervisor"


def _alive(pid: int) -> bool:
    # A service sees the end of its pipe a moment after its supervisor is gone.
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_the_services_are_and_stops_them_both(start, number):
    served = start()
    assert served.until_ready() == [
        "IngestService  127.0.0.1:7001",
        "QueryService   127.0.0.1:7002",
        "ready; Ctrl-C stops",
    ]
    code, stdout, stderr = served.end(number)
    assert (code, stdout) == (0, "")
    assert {"log of ingest", "log of query"} <= set(stderr.splitlines())
    assert "error" not in stderr
    for name in ("ingest", "query"):
        assert "term" in served.noted(name) and "int" not in served.noted(name).splitlines()


def test_json_is_one_line(start):
    served = start("--json")
    assert json.loads(served.until_ready()[0]) == {
        "ingest_address": "127.0.0.1:7001",
        "query_address": "127.0.0.1:7002",
    }
    assert served.end(signal.SIGTERM)[:2] == (0, "")


def test_all_settings_reach_both_services(start):
    served = start(
        "--data-dir",
        "/srv/data",
        "--ingest-address",
        "127.0.0.1:0",
        "--query-address",
        "127.0.0.1:0",
        "--drain-seconds",
        "3",
        "--max-workers",
        "4",
        "--log-level=DEBUG",
    )
    served.until_ready()
    served.end(signal.SIGTERM)
    for name in ("ingest", "query"):
        assert served.noted(name).splitlines()[0] == (
            "args --data-dir /srv/data --ingest-address 127.0.0.1:0 --query-address 127.0.0.1:0 --drain-seconds 3.0 "
            "--max-workers 4 --log-level=DEBUG"
        )


def test_when_one_dies_the_other_is_drained(start):
    served = start(ingest="die")
    code, _, stderr = served.end()
    assert code == 1
    assert [line for line in stderr.splitlines() if "error" in line] == [
        "error: IngestService ended by itself with exit code 3"
    ]
    assert "term" in served.noted("query")


def test_one_that_is_killed_is_named_with_its_signal(start):
    served = start()
    served.until_ready()
    served.until_noted("query", "pid")
    os.kill(int(served.noted("query").split("pid ")[1]), signal.SIGKILL)
    code, _, stderr = served.end()
    assert code == 1
    assert "error: QueryService ended by itself by signal SIGKILL" in stderr.splitlines()
    assert "term" in served.noted("ingest")


def test_refused_settings_are_a_usage_error(start):
    code, stdout, stderr = start(ingest="refuse", query="slow").end()
    assert (code, stdout) == (2, "")
    assert "error: IngestService ended by itself with exit code 2" in stderr.splitlines()


def test_one_that_does_not_stop_is_killed(start):
    served = start("--drain-seconds", "0", margin=0.3, query="stubborn")
    served.until_ready()
    code, _, stderr = served.end(signal.SIGTERM)
    assert code == 1
    assert "error: QueryService did not stop within 0.3 s and is killed" in stderr.splitlines()
    assert "term" in served.noted("query")


def test_a_second_ctrl_c_does_not_wait(start):
    served = start(ingest="stubborn", query="stubborn")
    served.until_ready()
    served.process.send_signal(signal.SIGINT)
    for name in ("ingest", "query"):
        served.until_noted(name, "term")
    code, _, stderr = served.end(signal.SIGINT)
    assert code == 130
    assert "stopping; another Ctrl-C does not wait" in stderr.splitlines()


def test_one_that_stops_untidily_is_named(start):
    served = start(ingest="untidy")
    served.until_ready()
    code, _, stderr = served.end(signal.SIGTERM)
    assert code == 1
    assert "error: IngestService did not stop cleanly: it ended with exit code 7" in stderr.splitlines()


def test_one_that_is_never_ready_is_not_waited_for(start):
    code, stdout, stderr = start("--timeout", "1", query="slow").end()
    assert (code, stdout) == (1, "")
    assert "was not ready within 1 s" in stderr


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_stopped_before_it_was_ready(start, number, expected):
    served = start(query="slow")
    served.until_noted("query", "pid")
    assert served.end(number)[:2] == (expected, "")


def test_the_services_do_not_outlive_a_supervisor_that_is_killed(start):
    served = start()
    served.until_ready()
    for name in ("ingest", "query"):
        served.until_noted(name, "pid")
    served.process.kill()
    for name in ("ingest", "query"):
        served.until_noted(name, "eof")


def test_a_directory_that_is_called_like_a_service_is_not_run(start, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ingest_service.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(elsewhere)
    served = start()
    served.until_ready()
    assert served.end(signal.SIGTERM)[0] == 0


def test_without_the_services_it_says_what_to_install(rag, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numpy" else find(name))
    result = rag("serve")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == 'error: the services are not installed: pip install "rag-papers[server]"\n'


@pytest.mark.parametrize("args", [["--drain-seconds", "nan"], ["--drain-seconds", "-1"], ["--timeout", "0"]])
def test_times_that_cannot_be_kept_are_usage_errors(rag, args):
    assert rag("serve", *args).exit_code == 2


def test_stop_signals_are_as_before_when_it_has_ended(start, monkeypatch, rag, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_INGEST", "refuse")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert rag("serve").exit_code == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
