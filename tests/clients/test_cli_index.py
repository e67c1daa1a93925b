"""`rag index activate`, `verify`, `delete` and `gc`."""

import json

import pytest

from rag_papers import errors
from rag_papers.v1 import ingest_pb2
from tests.clients.scripted_server import index

ID = index().corpus_id


def test_activate(server, rag):
    server.on("ActivateIndex", ingest_pb2.ActivateIndexResponse(index=index()))
    result = rag("index", "activate", ID, "--corpus", "papers")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"papers answers from {ID}\n", "")
    assert server.seen["ActivateIndex"] == [ingest_pb2.ActivateIndexRequest(corpus="papers", corpus_id=ID)]
    assert json.loads(rag("index", "activate", ID, "--corpus", "papers", "--json").stdout)["index"]["corpus_id"] == ID


def test_verify(server, rag):
    server.on("VerifyIndex", ingest_pb2.VerifyIndexResponse(index=index()))
    result = rag("index", "verify")
    assert (result.exit_code, result.stdout) == (0, f"{ID} of papers is intact: 156.2 KB read\n")
    document = json.loads(rag("index", "verify", ID, "--corpus", "papers", "--json").stdout)
    assert document["index"]["corpus_id"] == ID
    assert server.seen["VerifyIndex"] == [
        ingest_pb2.VerifyIndexRequest(),
        ingest_pb2.VerifyIndexRequest(corpus="papers", corpus_id=ID),
    ]


def test_delete(server, rag):
    server.on("DeleteIndex", ingest_pb2.DeleteIndexResponse(freed_bytes=160_000))
    result = rag("index", "delete", ID, "--corpus", "papers")
    assert (result.exit_code, result.stdout) == (0, f"deleted {ID} of papers, freed 156.2 KB\n")
    assert json.loads(rag("index", "delete", ID, "--corpus", "papers", "--json").stdout) == {"freed_bytes": "160000"}
    assert server.seen["DeleteIndex"][0] == ingest_pb2.DeleteIndexRequest(corpus="papers", corpus_id=ID)


def test_gc(server, rag):
    one = ingest_pb2.CollectIndexesResponse(corpus_ids=[ID], freed_bytes=2048)
    server.on("CollectIndexes", one, one, ingest_pb2.CollectIndexesResponse())
    assert rag("index", "gc").stdout == f"{ID}\ndeleted 1 index, freed 2.0 KB\n"
    assert json.loads(rag("index", "gc", "--json").stdout) == {"corpus_ids": [ID], "freed_bytes": "2048"}
    assert rag("index", "gc").stdout == "deleted 0 indexes, freed 0 B\n"


@pytest.mark.parametrize("command", ["activate", "delete"])
@pytest.mark.parametrize("args", [[], [ID], ["--corpus", "papers"]])
def test_what_is_changed_must_be_named(server, rag, command, args):
    result = rag("index", command, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not server.seen


@pytest.mark.parametrize(
    ("command", "method", "error", "hint"),
    [
        (
            "delete",
            "DeleteIndex",
            errors.IndexInUse("in use"),
            "activate another version first with: rag index activate",
        ),
        ("activate", "ActivateIndex", errors.IndexDamaged("damaged"), "build the index again with: rag ingest DIR"),
        ("verify", "VerifyIndex", errors.IndexDamaged("damaged"), "build the index again with: rag ingest DIR"),
        (
            "activate",
            "ActivateIndex",
            errors.IndexNotFound("none"),
            "see which versions there are with: rag index list",
        ),
    ],
)
def test_a_refusal_has_a_hint_and_fails(server, rag, command, method, error, hint):
    server.on(method, error)
    result = rag("index", command, ID, "--corpus", "papers", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    first, second = result.stderr.splitlines()
    assert first == f"error: {error.message}"
    assert second.startswith(f"hint: {hint}")
