"""QueryService as the tests run it: in this process, on a loop of its own, with real files, cache and calls."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from query_service.application import QueryApplication
from rag_papers.errors import InvalidRequest, RagError
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.hashing import digest
from rag_papers.persist.index_store import (
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    DocumentRecord,
    IndexBuilder,
    PassageRecord,
    publish,
)
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval import bm25
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.rpc.channel import open_channel
from rag_papers.rpc.server import RunningServer, start
from rag_papers.rpc.status import DOMAIN, from_rpc_error
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import query_pb2_grpc

SAMPLE = Path(__file__).parents[2] / "data" / "corpus"
PATIENCE = 60.0

LIBRARY = {
    "dropout.txt": (
        "Dropout is a technique that removes units at random during training. "
        "Unlike batch normalization, dropout does not normalize activations.\n\n"
        "To apply dropout, keep each hidden unit with a probability of 0.5. "
        "Use a larger layer than without dropout.\n\n"
        "Dropout reduces overfitting because units cannot rely on each other."
    ),
    "batchnorm.txt": (
        "Batch normalization is a technique that normalizes the inputs of a layer. "
        "Unlike dropout, batch normalization makes optimization faster.\n\n"
        "Batch normalization works poorly with very small minibatches."
    ),
    "transfer.txt": (
        "Transfer learning is the use of knowledge from a source task to improve a target task. "
        "Transfer learning is most useful when labelled data are scarce."
    ),
}
"""Three little papers."""


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def records(documents: Mapping[str, str]) -> list[list[PassageRecord]]:
    """The passages of each document: its paragraphs, without its headings. A '# ' line is the title."""
    found = []
    for name, text in documents.items():
        title = text.removeprefix("# ").partition("\n")[0] if text.startswith("# ") else name
        section, start, passages = "", 0, []
        for paragraph in text.split("\n\n"):
            body = paragraph
            while body.startswith("#"):
                section = body.partition("\n")[0].lstrip("# ")
                body = body.partition("\n")[2]
            if body.strip():
                begin = len(text[: start + len(paragraph) - len(body)].encode())
                passages.append(
                    PassageRecord(
                        passage_id=f"{name}#{len(passages)}", document_id=name, title=title, path=name, section=section,
                        first_page=0, last_page=0, start_byte=begin, end_byte=begin + len(body.encode()), text=body,
                    )
                )  # fmt: skip
            start += len(paragraph) + 2
        found.append(passages)
    return found


def build(
    paths: DataPaths,
    documents: Mapping[str, str],
    model: str = "hashing-64",
    years: Mapping[str, int] | None = None,
    *,
    linked: bool = False,
    **manifest: Any,
) -> str:
    """Puts an index in its place, without publishing it to a corpus; returns its corpus_id.

    It has an approximate index of its vectors if they are to be `linked`.
    """
    encoder = open_encoder(model)
    by_document = records(documents)
    passages = [passage for group in by_document for passage in group]
    texts = ["\n".join(filter(None, (p.title, p.section, p.text))) for p in passages]
    years = years or {}
    corpus_id = digest([model, linked, sorted(documents.items()), years]).hex()[:16]
    builder = IndexBuilder(paths.staging / f"{corpus_id}-{threading.get_ident()}")
    builder.write_array(PASSAGE_OFFSETS, builder.write_lines(PASSAGES, passages))
    position, infos = 0, []
    for (name, text), group in zip(documents.items(), by_document, strict=True):
        infos.append(
            DocumentRecord(
                document_id=name, path=name, title=group[0].title, year=years.get(name, 0), authors=(),
                doi="", size_bytes=len(text.encode()),
                first_passage=position, passage_count=len(group),
            )
        )  # fmt: skip
        position += len(group)
    builder.write_lines(DOCUMENTS, infos)
    builder.write_lines(FAILURES, [])
    builder.write_postings(bm25.fit([terms(text) for text in texts]))
    with builder.vectors(encoder.dim) as vectors:
        vectors.append(encoder.encode(texts))
    if linked:
        builder.write_graph(builder.written_vectors(), lambda done: None)
    fields = {
        "corpus_id": corpus_id, "document_count": len(documents), "passage_count": len(texts), "dim": encoder.dim,
        "model_name": model, "model_identity": encoder.identity, "analyzer": ANALYZER, "chunker": "paragraphs",
    }  # fmt: skip
    publish(builder.directory, paths.indexes, builder.finish(**fields | manifest))
    return corpus_id


class Service:
    """A running QueryService, and the data that it serves."""

    def __init__(self, settings: Settings) -> None:
        self.paths = DataPaths.of(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server: RunningServer = self._run(start(QueryApplication(settings), "127.0.0.1:0"))
        self.address = self._server.address
        self._channel = open_channel(self.address)
        self.stub = query_pb2_grpc.QueryServiceStub(self._channel)

    def stop(self) -> None:
        self._channel.close()
        self._run(self._server.stop(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def publish(self, corpus: str, documents: Mapping[str, str], **manifest: Any) -> str:
        """Builds an index and makes it the corpus's active version; returns its corpus_id."""
        corpus_id = build(self.paths, documents, **manifest)
        self.activate(corpus, corpus_id)
        return corpus_id

    def activate(self, corpus: str, corpus_id: str) -> None:
        Corpora(self.paths.corpora).publish(
            corpus, Version(corpus_id=corpus_id, publish_time=time.time(), job_id="job")
        )

    def ask(self, query: str, **fields: Any) -> pb.AskResponse:
        return self.stub.Ask(pb.AskRequest(query=query, **fields))

    def search(self, query: str, **fields: Any) -> pb.SearchResponse:
        return self.stub.Search(pb.SearchRequest(query=query, **fields))

    def plan(self, query: str, **fields: Any) -> pb.PlanResponse:
        return self.stub.Plan(pb.PlanRequest(query=query, **fields))

    def purge(self, *tables: str) -> Mapping[str, int]:
        return dict(self.stub.PurgeCache(pb.PurgeCacheRequest(tables=tables)).purged)

    def counts(self) -> dict[str, int]:
        tables = self.stub.GetCacheStats(pb.GetCacheStatsRequest()).tables
        return {name: tables[name].count for name in tables}

    def rewrite(self, table: CacheTable, value: bytes) -> None:
        """Replaces the value of every entry of a table, with the check sum that belongs to it."""
        store = SqliteStore(self.paths.cache_db)
        try:
            with contextlib.closing(sqlite3.connect(store.path)) as connection:
                keys = [key for (key,) in connection.execute(f"SELECT key FROM {table}").fetchall()]
            store.put_many(table, dict.fromkeys(keys, value))
            assert keys
        finally:
            store.close()


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, RagError]:
    """The code of a call that is refused, and the error that its details hold."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    assert info.domain == DOMAIN
    return error.code(), from_rpc_error(error, "service")


def violations(call: Callable[[], Any]) -> Mapping[str, str]:
    """What is wrong with a request, by field."""
    code, error = refused(call)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, InvalidRequest)
    return error.violations


def check_citations(response: pb.AskResponse, documents: Mapping[str, str]) -> None:
    """Every sentence is quoted from the very bytes that it cites."""
    assert response.sentences
    assert response.answer == " ".join(sentence.text for sentence in response.sentences)
    for sentence in response.sentences:
        assert sentence.citations
        for citation in sentence.citations:
            data = documents[citation.document_id].encode()
            assert data[citation.start_byte : citation.end_byte] == citation.quote.encode()
            passage = response.sources[citation.source_rank - 1].passage
            assert passage.passage_id == citation.passage_id
            assert passage.start_byte <= citation.start_byte < citation.end_byte <= passage.end_byte


def names(enum: Any, values: Sequence[int]) -> list[str]:
    """The names of enum values."""
    return [enum.Name(value) for value in values]
