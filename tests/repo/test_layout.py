"""What the repository promises about its own code."""

import ast
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .places import BIN, CODE, ROOT, run_tool

CODE_FILES = sorted(path for name in CODE for path in (ROOT / name).rglob("*.py"))
RUNS_CODE_WHEN_IT_LOADS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def test_the_direction_of_imports_holds() -> None:
    result = run_tool(BIN / "lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout


def test_the_wheel_holds_the_four_packages_and_nothing_else(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    result = run_tool(*pip, "--wheel-dir", tmp_path, ROOT)
    assert result.returncode == 0, result.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    [info] = [name for name in top if name.endswith(".dist-info")]
    assert top - {info} == {"rag_papers", "ingest_service", "query_service", "rag_client"}
    for package in ("rag_papers", "rag_client"):
        assert f"{package}/py.typed" in names
    assert "rag_papers/v1/ingest_pb2.pyi" in names
    assert not [name for name in names if Path(name).suffix in {".pyc", ".db", ".jsonl", ".proto"}]


# What the pickles of others are measured in; it loads none but its own.
MEASURES_PICKLES = ROOT / "benchmarks" / "opening.py"


@pytest.mark.parametrize(
    "path", [path for path in CODE_FILES if path != MEASURES_PICKLES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_that_runs_code_when_it_loads_is_used(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    assert not set(imported(tree)) & RUNS_CODE_WHEN_IT_LOADS
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level names of all modules that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
