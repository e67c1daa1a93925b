"""`rag doctor`, against scripted services: one check after the other."""

import json
from collections.abc import Iterator

import pytest
from grpc_health.v1 import health_pb2

from rag_papers import __version__, errors
from rag_papers.v1 import ingest_pb2, query_pb2
from rag_papers.v1.resources_pb2 import Model, ServiceInfo
from tests.clients.scripted_server import ScriptedServer, index

GB = 1 << 30
IDENTITY = "0123456789abcdef"


def info(**changes) -> ServiceInfo:
    known = {"version": __version__, "data_dir": "/srv/data", "disk_free_bytes": 50 * GB, "disk_total_bytes": 100 * GB}
    return ServiceInfo(**known | changes)


def ingest_info(**changes) -> ingest_pb2.IngestServiceGetInfoResponse:
    return ingest_pb2.IngestServiceGetInfoResponse(info=info(**changes))


def query_info(problem: str = "", **changes) -> query_pb2.QueryServiceGetInfoResponse:
    return query_pb2.QueryServiceGetInfoResponse(
        info=info(**changes), generator="extractive", generator_problem=problem
    )


def active(**changes) -> ingest_pb2.ListIndexesResponse:
    return ingest_pb2.ListIndexesResponse(indexes=[index(embed_model_identity=IDENTITY, **changes)])


def model(**changes) -> ingest_pb2.ListModelsResponse:
    return ingest_pb2.ListModelsResponse(models=[Model(identity=IDENTITY, **changes)])


@pytest.fixture
def query_server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture
def examine(server, query_server, rag):
    """The checks that are not all right, by name, after changes to two services that are well."""

    def run(*args: str, **changes):
        well = {
            "ingest": ingest_info(),
            "query": query_info(),
            "ListIndexes": active(),
            "ListModels": model(),
            "GetCacheStats": query_pb2.GetCacheStatsResponse(database_path="/srv/data/cache/cache.db", file_bytes=4096),
            "Search": query_pb2.SearchResponse(corpus="papers", corpus_id=index().corpus_id),
            "VerifyIndex": ingest_pb2.VerifyIndexResponse(index=index()),
        } | changes
        server.on("GetInfo", well["ingest"])
        query_server.on("GetInfo", well["query"])
        for method in ("ListIndexes", "ListModels", "VerifyIndex"):
            server.on(method, well[method])
        for method in ("GetCacheStats", "Search"):
            query_server.on(method, well[method])
        result = rag("doctor", "--json", *args, RAG_QUERY_ADDRESS=query_server.address)
        found = json.loads(result.stdout)
        grades = {check["grade"] for check in found["checks"]}
        assert result.exit_code == ("problem" in grades)
        assert found["ok"] is not ("problem" in grades)
        assert all(check["message"] and not (check["hint"] and check["grade"] == "ok") for check in found["checks"])
        return {check["name"]: check for check in found["checks"] if check["grade"] != "ok"}

    return run


def test_services_that_are_well(server, query_server, rag, examine):
    assert examine("--verify") == {}
    lines = rag("doctor", "--verify", RAG_QUERY_ADDRESS=query_server.address).stdout.splitlines()
    assert lines == [
        f"ok       IngestService   {server.address} serves, version {__version__}",
        f"ok       QueryService    {query_server.address} serves, version {__version__}",
        "ok       data directory  /srv/data",
        "ok       disk space      50.0 GB of 100.0 GB are free",
        "ok       generator       extractive",
        "ok       caches          /srv/data/cache/cache.db, 4.0 KB",
        "ok       model           all-MiniLM-L6-v2 is prepared",
        "ok       corpus papers   6 papers, 40 passages, answers from a1b2c3d4e5f60718",
        "ok       corpus papers   every file is intact, 156.2 KB read",
    ]


def test_nothing_is_read_unless_asked_for(server, examine):
    examine()
    assert not server.seen["VerifyIndex"]


PROBLEMS = {
    "version": ({"query": query_info(version="9.9")}, "QueryService", "warning", "9.9", "same version"),
    "two directories": ({"query": query_info(data_dir="/b")}, "data directory", "warning", "/b", "RAG_DATA_DIR"),
    "little space": (
        {"ingest": ingest_info(disk_free_bytes=GB // 2), "query": query_info(disk_free_bytes=GB // 2)},
        "disk space", "warning", "512.0 MB of 100.0 GB", "rag cache purge",
    ),
    "a small share": (
        {"ingest": ingest_info(disk_total_bytes=2000 * GB), "query": query_info(disk_total_bytes=2000 * GB)},
        "disk space", "warning", "free", "rag index delete",
    ),
    "no space": (
        {"ingest": ingest_info(disk_free_bytes=5), "query": query_info(disk_free_bytes=5)},
        "disk space", "problem", "5 B", "rag cache purge",
    ),
    "generator": ({"query": query_info("no key")}, "generator", "problem", "no key", "RAG_GENERATOR=extractive"),
    "caches": ({"GetCacheStats": errors.DiskFull("full")}, "caches", "problem", "full", "rag cache purge"),
    "no corpora": ({"ListIndexes": ingest_pb2.ListIndexesResponse()}, "corpora", "warning", "nothing", "rag ingest"),
    "corpora": ({"ListIndexes": errors.IndexDamaged("papers.json")}, "corpora", "problem", "papers.json", "--no-cache"),
    "no model": (
        {"ListModels": ingest_pb2.ListModelsResponse()}, "model", "warning", "not prepared", "rag model prepare all-",
    ),
    "model": ({"ListModels": model(damage="a file is gone")}, "model", "problem", "is gone", "rag model prepare all-"),
    "damaged": (
        {"Search": query_pb2.SearchResponse(corpus_id="b" * 16)},
        "corpus papers", "problem", "bbbb answers in its place", "rag ingest DIR --no-cache",
    ),
    "refused": (
        {"Search": errors.ModelUnavailable("no torch")}, "corpus papers", "problem", "no torch", "another model",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "name", "grade", "message", "hint"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_wrong_is_said_with_what_to_do(examine, changes, name, grade, message, hint):
    found = examine(**changes)
    assert list(found) == [name]
    assert found[name]["grade"] == grade
    assert message in found[name]["message"] and hint in found[name]["hint"]


def test_a_damaged_file_is_found_where_all_are_read(examine):
    found = examine("--verify", VerifyIndex=errors.IndexDamaged("bm25.terms.npy is damaged"))
    assert found["corpus papers"]["grade"] == "problem"
    assert "bm25.terms.npy" in found["corpus papers"]["message"]


def test_a_built_in_model_needs_no_preparation(examine):
    assert not examine(ListIndexes=active(embed_model_name="hashing-64"), ListModels=ingest_pb2.ListModelsResponse())


def test_a_service_that_is_not_there_hides_nothing_of_the_other(query_server, examine):
    query_server.stop()
    found = examine(ListModels=model(damage="a file is gone"))
    assert list(found) == ["QueryService", "model"]
    assert found["QueryService"]["hint"] == "start the services with: rag serve"


def test_neither_is_there(server, query_server, examine, rag):
    server.stop()
    query_server.stop()
    assert list(examine()) == ["IngestService", "QueryService"]
    lines = rag("doctor", RAG_QUERY_ADDRESS=query_server.address).stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("problem  IngestService   nothing answers at ")
    assert lines[1].strip() == "hint: start the services with: rag serve"


def test_a_service_that_shuts_down(query_server, examine):
    query_server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    found = examine()
    assert list(found) == ["QueryService"] and "shuts down" in found["QueryService"]["message"]
