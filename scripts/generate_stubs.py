"""Writes the stubs of the contract: `python scripts/generate_stubs.py OUTPUT_DIRECTORY`."""

import os
import sys
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent.parent / "protos"


def generate(output: Path) -> None:
    """Generates messages for every file and servicers for those that declare a service."""
    # The plugin for type stubs is a command beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    files = sorted(PROTOS.rglob("*.proto"))
    services = [file for file in files if "\nservice " in file.read_text()]
    _run(files, f"--python_out={output}", f"--mypy_out=quiet:{output}")
    _run(services, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}")


def _run(files: list[Path], *outputs: str) -> None:
    # grpc_tools brings the well-known types that the protos import.
    include = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{PROTOS}", f"-I{include}", *outputs, *map(str, files)])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
