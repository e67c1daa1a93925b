"""Where things lie in the checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CODE = ("rag_papers", "ingest_service", "query_service", "clients", "scripts", "benchmarks")


def run_tool(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a tool of the environment that the tests run in."""
    env = os.environ | {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]])}
    return subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
