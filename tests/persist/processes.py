"""Code that runs in a process of its own: what dies, or is limited, must not be the test."""

import subprocess
import sys
import textwrap


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts `code` with `arguments` as sys.argv[1:]."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `code` to its end."""
    with start_python(code, *arguments) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
