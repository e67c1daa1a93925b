"""Benchmarks are run by hand: what they import of the project must still be there."""

import ast
import importlib
from pathlib import Path

import pytest

from .places import ROOT

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
OURS = ("rag_papers", "ingest_service", "query_service", "rag_client")


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_it_imports_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        names = {alias.name for alias in node.names}
        if node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            missing = {name for name in names if not hasattr(module, name)}
            assert not {name for name in missing if not importlib.util.find_spec(f"{node.module}.{name}")}
        elif sibling := next((other for other in BENCHMARKS if other.stem == node.module), None):
            defined = {target for statement in ast.parse(sibling.read_text()).body for target in _defined(statement)}
            assert names <= defined, node.module


def _defined(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign(targets=targets):
            return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return set()
