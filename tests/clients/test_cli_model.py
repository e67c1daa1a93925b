"""`rag model prepare` and `list`."""

import json

from rag_papers import errors
from rag_papers.v1 import ingest_pb2
from rag_papers.v1.resources_pb2 import Model

MODEL = Model(
    identity="9de5e697b0f667419347a5856b91de9a",
    model_name="all-MiniLM-L6-v2",
    precision="fp32",
    dim=384,
    max_tokens=254,
    size_bytes=160_000,
)


def test_prepare(server, rag):
    server.on(
        "PrepareModel",
        ingest_pb2.PrepareModelResponse(model=MODEL),
        ingest_pb2.PrepareModelResponse(model=MODEL, existed=True),
    )
    result = rag("model", "prepare", "all-MiniLM-L6-v2")
    told = f"all-MiniLM-L6-v2 is prepared: {MODEL.identity}, 156.2 KB\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, told, "")
    assert "was prepared already and is intact" in rag("model", "prepare").stdout
    document = json.loads(rag("model", "prepare", "--json").stdout)
    assert (document["existed"], document["model"]["dim"]) == (True, 384)
    assert server.seen["PrepareModel"][:2] == [
        ingest_pb2.PrepareModelRequest(model_name="all-MiniLM-L6-v2"),
        ingest_pb2.PrepareModelRequest(),
    ]


def test_list(server, rag):
    damaged = Model(identity="0" * 32, damage="manifest.json is missing")
    server.on("ListModels", ingest_pb2.ListModelsResponse(models=[MODEL, damaged]))
    header, first, second = rag("model", "list").stdout.splitlines()
    assert header.split() == ["MODEL", "PRECISION", "DIM", "TOKENS", "SIZE", "PREPARED", "IDENTITY", "STATE"]
    assert first.split() == ["all-MiniLM-L6-v2", "fp32", "384", "254", "156.2", "KB", "-", MODEL.identity, "ok"]
    assert second.endswith("manifest.json is missing")
    assert len(json.loads(rag("model", "list", "--json").stdout)["models"]) == 2


def test_a_refusal_fails(server, rag):
    server.on("PrepareModel", errors.ModelUnavailable("it cannot be frozen"))
    result = rag("model", "prepare", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: it cannot be frozen\nhint: ")
