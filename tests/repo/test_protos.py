import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from rag_papers.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc

from .places import BIN, ROOT, run_tool

STUBS = ROOT / "rag_papers" / "v1"
SERVICES = {
    "ingest_service.servicer": (ingest_pb2, ingest_pb2_grpc, "IngestService"),
    "query_service.servicer": (query_pb2, query_pb2_grpc, "QueryService"),
}
RPCS = [
    (module, method.name)
    for module, (pb2, _, service) in SERVICES.items()
    for method in pb2.DESCRIPTOR.services_by_name[service].methods
]


def test_the_stubs_are_those_of_the_protos(tmp_path: Path) -> None:
    protoc = (sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}")
    names = [f"rag_papers/v1/{path.name}" for path in sorted((ROOT / "protos" / "rag_papers" / "v1").glob("*.proto"))]
    services = ["rag_papers/v1/ingest.proto", "rag_papers/v1/query.proto"]
    for command in (
        (*protoc, f"--python_out={tmp_path}", f"--mypy_out={tmp_path}", *names),
        (*protoc, f"--grpc_python_out={tmp_path}", f"--mypy_grpc_out={tmp_path}", *services),
    ):
        result = run_tool(*command)
        assert result.returncode == 0, result.stderr
    generated = {path.name: path.read_bytes() for path in (tmp_path / "rag_papers" / "v1").iterdir()}
    committed = {path.name: path.read_bytes() for path in STUBS.iterdir() if "_pb2" in path.name and path.is_file()}
    assert sorted(generated) == sorted(committed)
    stale = [name for name in generated if generated[name] != committed[name]]
    assert not stale, "run `make protos`"


def test_the_protos_are_clean() -> None:
    result = run_tool(BIN / "buf", "lint")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(("module", "rpc"), RPCS, ids=[f"{module.split('_')[0]}-{rpc}" for module, rpc in RPCS])
def test_every_rpc_that_is_declared_works(module: str, rpc: str) -> None:
    _, grpc_module, service = SERVICES[module]
    declared = getattr(grpc_module, f"{service}Servicer")
    servicer = servicer_of(module, declared)
    assert getattr(servicer, rpc) is not getattr(declared, rpc)


def servicer_of(module: str, declared: type[Any]) -> type[Any]:
    """The class in `module` that implements the service."""
    found = importlib.import_module(module)
    [servicer] = [
        item for item in vars(found).values()
        if isinstance(item, type) and issubclass(item, declared) and item is not declared
    ]  # fmt: skip
    return servicer
