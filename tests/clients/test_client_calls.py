"""What the clients send, what they return, and what they raise."""

import asyncio
import inspect

import pytest

from rag_client import AsyncIngestClient, AsyncQueryClient, IngestClient, QueryClient, calls
from rag_papers import errors
from rag_papers.v1 import ingest_pb2, query_pb2
from rag_papers.v1.resources_pb2 import JobState, ServiceInfo
from tests.clients.scripted_server import ScriptedServer, index, job, until_cancelled


def test_a_start_sends_what_was_given_and_returns_the_job(server):
    server.on("StartIngest", ingest_pb2.StartIngestResponse(job=job()))
    with IngestClient(server.address) as client:
        started = client.start_ingest("/srv/papers", corpus="papers", model_name="m", use_cache=False, request_id="r")
    assert started == job()
    assert server.seen["StartIngest"] == [
        ingest_pb2.StartIngestRequest(
            corpus_dir="/srv/papers", corpus="papers", model_name="m", use_cache=False, request_id="r"
        )
    ]


def test_what_is_not_given_is_not_sent(server):
    server.on("StartIngest", ingest_pb2.StartIngestResponse(job=job()))
    server.on("Search", query_pb2.SearchResponse())
    with IngestClient(server.address) as ingest, QueryClient(server.address) as query:
        ingest.start_ingest("/srv/papers")
        query.search("bm25")
        query.search("bm25", bm25_weight=0.0, filter=query_pb2.Filter(path_prefixes=["2015/"]))
    assert not server.seen["StartIngest"][0].HasField("use_cache")
    unset, zero = server.seen["Search"]
    assert not any(map(unset.HasField, ("bm25_weight", "top_k", "filter")))
    assert zero.HasField("bm25_weight")
    assert zero.filter.path_prefixes == ["2015/"]


def test_every_query_call(server):
    answer, plan = query_pb2.AskResponse(answer="yes"), query_pb2.PlanResponse(intent="definition")
    stats = query_pb2.GetCacheStatsResponse(file_bytes=7)
    server.on("Ask", answer)
    server.on("Plan", plan)
    server.on("GetCacheStats", stats)
    server.on("PurgeCache", query_pb2.PurgeCacheResponse(purged={"answers": 42}))
    server.on("VacuumCache", query_pb2.VacuumCacheResponse(bytes_before=9, bytes_after=4))
    config, wanted = query_pb2.AskConfig(max_repairs=0), query_pb2.Filter(document_ids=["a.md"])
    given = {"intent": "definition", "corpus": "c", "corpus_id": "i", "refresh": True, "config": config}
    with QueryClient(server.address) as client:
        assert client.ask("q", filter=wanted, **given) == answer
        assert client.plan("q", intent="definition", config=config) == plan
        assert client.cache_stats() == stats
        assert client.purge_cache(["answers", "retrieval"]).purged == {"answers": 42}
        assert client.vacuum_cache().bytes_after == 4
    assert server.seen["Ask"] == [query_pb2.AskRequest(query="q", filter=wanted, **given)]
    assert server.seen["PurgeCache"][0].tables == ["answers", "retrieval"]


def test_sessions(server):
    sessions = [query_pb2.Session(session_id=str(number)) for number in range(3)]
    turns = [query_pb2.Turn(number=number) for number in (1, 2)]
    exported = [query_pb2.ExportSessionResponse(turn=turn) for turn in turns]
    pages = [
        query_pb2.ListSessionsResponse(sessions=sessions[:2], next_page_token="1"),
        query_pb2.ListSessionsResponse(sessions=sessions[2:]),
    ]
    server.on("ListSessions", *pages, *pages)
    server.on("GetSession", query_pb2.GetSessionResponse(session=sessions[0], turns=turns))
    server.on("DeleteSession", query_pb2.DeleteSessionResponse(turn_count=2))
    server.on("ExportSession", exported, [exported[0], errors.SessionsUnavailable("full")])
    server.on("AskStream", [query_pb2.AskStreamResponse(text_delta="a"), errors.DeadlineExceeded("late")])

    async def asynchronously() -> None:
        async with AsyncQueryClient(server.address) as client:
            assert [session async for session in client.list_sessions()] == sessions
            assert (await client.get_session("0")).turns == turns
            assert await client.delete_session("0") == 2
            exporting = client.export_session("0")
            assert await anext(exporting) == turns[0]
            with pytest.raises(errors.SessionsUnavailable):
                await anext(exporting)
            stream = client.ask_stream("q", session_id="-")
            assert (await anext(stream)).text_delta == "a"
            with pytest.raises(errors.DeadlineExceeded):
                await anext(stream)

    with QueryClient(server.address) as client:
        assert list(client.list_sessions()) == sessions
        assert client.get_session("0", page_size=7, page_token="3").turns == turns
        assert client.delete_session("0") == 2
        assert list(client.export_session("0")) == turns
        stream = client.ask_stream("q", session_id="0")
        assert next(stream).text_delta == "a"
        with pytest.raises(errors.DeadlineExceeded):
            next(stream)
    asyncio.run(asynchronously())
    assert [request.session_id for request in server.seen["AskStream"]] == ["0", "-"]
    assert server.seen["GetSession"][0] == query_pb2.GetSessionRequest(session_id="0", page_size=7, page_token="3")


def test_indexes(server):
    server.on("GetIndex", ingest_pb2.GetIndexResponse(index=index()))
    server.on(
        "ListIndexes",
        ingest_pb2.ListIndexesResponse(indexes=[index()], next_page_token="2"),
        ingest_pb2.ListIndexesResponse(indexes=[index(corpus_id="b" * 16)]),
    )
    with IngestClient(server.address) as client:
        assert client.get_index(corpus="papers") == index()
        assert [found.corpus_id for found in client.list_indexes(corpus="papers")] == [index().corpus_id, "b" * 16]
    assert [request.page_token for request in server.seen["ListIndexes"]] == ["", "2"]
    assert {request.corpus for request in server.seen["ListIndexes"]} == {"papers"}


def test_administering_versions(server):
    server.on("ActivateIndex", ingest_pb2.ActivateIndexResponse(index=index()))
    server.on("VerifyIndex", ingest_pb2.VerifyIndexResponse(index=index()))
    server.on("DeleteIndex", ingest_pb2.DeleteIndexResponse(freed_bytes=7))
    server.on("CollectIndexes", ingest_pb2.CollectIndexesResponse(corpus_ids=["b" * 16], freed_bytes=9))

    async def asynchronously() -> None:
        async with AsyncIngestClient(server.address) as client:
            assert await client.activate_index("papers", "a") == index()
            assert (await client.verify_index(corpus_id="a")).index == index()
            assert (await client.delete_index("papers", "a")).freed_bytes == 7
            assert (await client.collect_indexes()).freed_bytes == 9

    with IngestClient(server.address) as client:
        assert client.activate_index("papers", "a") == index()
        assert client.verify_index(corpus_id="a").index == index()
        assert client.delete_index("papers", "a").freed_bytes == 7
        assert client.collect_indexes().corpus_ids == ["b" * 16]
    asyncio.run(asynchronously())
    assert server.seen["ActivateIndex"] == [ingest_pb2.ActivateIndexRequest(corpus="papers", corpus_id="a")] * 2
    assert server.seen["VerifyIndex"] == [ingest_pb2.VerifyIndexRequest(corpus_id="a")] * 2
    assert server.seen["DeleteIndex"] == [ingest_pb2.DeleteIndexRequest(corpus="papers", corpus_id="a")] * 2


def _three_pages(server: ScriptedServer) -> None:
    server.on(
        "ListJobs",
        *(
            ingest_pb2.ListJobsResponse(jobs=[job(n), job(n + 1)], next_page_token=token)
            for n, token in ((1, "a"), (3, "b"), (5, ""))
        ),
    )


def test_a_list_goes_through_all_pages_and_only_as_far_as_it_is_read(server):
    _three_pages(server)
    with IngestClient(server.address) as client:
        found = client.list_jobs(state="running", page_size=2)
        assert [next(found).revision for _ in range(3)] == [1, 2, 3]
        assert len(server.seen["ListJobs"]) == 2
        assert [rest.revision for rest in found] == [4, 5, 6]
    assert [request.page_token for request in server.seen["ListJobs"]] == ["", "a", "b"]
    assert all(
        request.page_size == 2 and request.state == JobState.JOB_STATE_RUNNING for request in server.seen["ListJobs"]
    )


@pytest.mark.parametrize("kind", errors.ERRORS, ids=lambda kind: kind.reason)
def test_every_reason_arrives_as_its_error(server, kind):
    sent = kind("what happened", where="here")
    server.on("PurgeCache", sent)

    async def asynchronously() -> errors.RagError:
        async with AsyncQueryClient(server.address) as client:
            with pytest.raises(errors.RagError) as caught:
                await client.purge_cache(["answers"])
            return caught.value

    with QueryClient(server.address) as client, pytest.raises(errors.RagError) as caught:
        client.purge_cache(["answers"])
    for error in (caught.value, asyncio.run(asynchronously())):
        assert type(error) is kind
        assert (error.message, error.metadata) == ("what happened", {"where": "here"})


def test_what_an_error_carries_arrives_too(server):
    server.on("StartIngest", errors.QueueFull("full", retry_after=2.5))
    server.on("PurgeCache", errors.InvalidRequest(violations={"tables": "none given"}))
    with IngestClient(server.address) as client, pytest.raises(errors.QueueFull) as full:
        client.start_ingest("/srv/papers")
    with QueryClient(server.address) as client, pytest.raises(errors.InvalidRequest) as invalid:
        client.purge_cache([])
    assert full.value.retry_after == 2.5
    assert invalid.value.violations == {"tables": "none given"}


def test_nobody_there_is_unreachable():
    nobody = ScriptedServer()
    nobody.stop()
    with QueryClient(nobody.address) as client, pytest.raises(errors.Unreachable, match=nobody.address):
        client.cache_stats()
    with IngestClient(nobody.address) as client, pytest.raises(errors.Unreachable):
        next(client.watch_job("x"))


def test_a_timeout_is_a_deadline(server):
    server.on("PurgeCache", until_cancelled)
    with QueryClient(server.address, timeout=0.05) as client, pytest.raises(errors.DeadlineExceeded):
        client.purge_cache(["all"])


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_nothing_could_keep_is_refused(seconds):
    with pytest.raises(errors.InvalidRequest, match="timeout"):
        QueryClient("127.0.0.1:1", timeout=seconds)


def test_a_value_that_its_field_cannot_hold_is_an_invalid_request(server):
    with QueryClient(server.address) as client:
        with pytest.raises(errors.InvalidRequest, match="out of range"):
            client.search("q", top_k=10**12)
        with pytest.raises(errors.InvalidRequest):
            client.search("not text \udcff")
    with IngestClient(server.address) as client, pytest.raises(errors.InvalidRequest, match="queued, running"):
        client.list_jobs(state="dancing")
    assert not server.seen


def test_the_environment_says_where_the_services_are(monkeypatch):
    monkeypatch.setenv("RAG_INGEST_ADDRESS", "127.0.0.1:7001")
    monkeypatch.setenv("RAG_QUERY_ADDRESS", "127.0.0.1:7002")
    with IngestClient() as ingest, QueryClient() as query:
        assert (ingest.address, query.address) == ("127.0.0.1:7001", "127.0.0.1:7002")


def test_the_asyncio_clients_make_the_same_calls(server):
    server.on("StartIngest", ingest_pb2.StartIngestResponse(job=job()))
    server.on("GetJob", ingest_pb2.GetJobResponse(job=job(2)))
    server.on("CancelJob", ingest_pb2.CancelJobResponse(job=job(3)))
    server.on("Ask", query_pb2.AskResponse(answer="yes"))
    _three_pages(server)

    async def run() -> None:
        async with AsyncIngestClient(server.address) as ingest, AsyncQueryClient(server.address) as query:
            assert (await ingest.start_ingest("/srv/papers", use_cache=False)).revision == 1
            assert (await ingest.get_job("x")).revision == 2
            assert (await ingest.cancel_job("x")).revision == 3
            assert [found.revision async for found in ingest.list_jobs()] == [1, 2, 3, 4, 5, 6]
            assert (await query.ask("q", use_cache=False)).answer == "yes"
            with pytest.raises(errors.InvalidRequest):
                await query.search("q", top_k=10**12)

    asyncio.run(run())
    assert not server.seen["StartIngest"][0].use_cache and server.seen["Ask"][0].HasField("use_cache")


@pytest.mark.parametrize(("blocking", "aio"), [(IngestClient, AsyncIngestClient), (QueryClient, AsyncQueryClient)])
def test_both_kinds_of_client_offer_the_same_methods(blocking, aio):
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert public(blocking) == public(aio)
    assert all(inspect.getdoc(getattr(kind, name)) for kind in (blocking, aio) for name in public(kind))


def test_every_rpc_of_the_contract_has_a_call():
    offered = {call.method for call in vars(calls).values() if isinstance(call, calls.Call)}
    services = (
        ingest_pb2.DESCRIPTOR.services_by_name["IngestService"],
        query_pb2.DESCRIPTOR.services_by_name["QueryService"],
    )
    assert offered == {method.name for service in services for method in service.methods}


def test_info_and_health_of_both_services(server):
    info = ServiceInfo(version="1", data_dir="/srv/data")
    server.on(
        "GetInfo",
        *(ingest_pb2.IngestServiceGetInfoResponse(info=info), query_pb2.QueryServiceGetInfoResponse(info=info)) * 2,
    )

    async def asyncio_clients() -> None:
        async with AsyncIngestClient(server.address) as ingest, AsyncQueryClient(server.address) as query:
            for client in (ingest, query):
                assert (await client.get_info()).info == info
                assert await client.is_serving()

    with IngestClient(server.address) as ingest, QueryClient(server.address) as query:
        for client in (ingest, query):
            assert client.get_info().info == info
            assert client.is_serving()
        asyncio.run(asyncio_clients())
        server.stop()
        for client in (ingest, query):
            with pytest.raises(errors.Unreachable):
                client.is_serving()
