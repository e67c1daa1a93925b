"""What `rag doctor` looks at: one check after the other, each of which says what to do where something is wrong."""

import dataclasses
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from rag_client.cli.exits import hint_for
from rag_client.cli.text import counted, size
from rag_papers import __version__
from rag_papers.errors import RagError

if TYPE_CHECKING:
    from rag_client import IngestClient, QueryClient
    from rag_papers.v1.resources_pb2 import Index, Model, ServiceInfo

_LITTLE_BYTES, _LITTLE_SHARE = 1 << 30, 0.05
_HARDLY_ANY_BYTES = 100 << 20
_BUILT_IN_MODEL = "hashing-"


class Grade(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    grade: Grade
    message: str
    hint: str = ""
    """What to do; empty where nothing is wrong."""


def diagnose(ingest: "IngestClient", query: "QueryClient", *, verify: bool) -> Iterator[Check]:
    """Looks at both services and at what they have; with `verify` every file of the active versions is read."""
    infos: dict[str, ServiceInfo] = {}
    yield _service("IngestService", ingest, infos)
    yield _service("QueryService", query, infos)
    yield from _data_directory(infos)
    if "QueryService" in infos:
        yield from _guarded("generator", _generator(query))
        yield from _guarded("caches", _caches(query))
    if "IngestService" in infos:
        yield from _guarded("corpora", _corpora(ingest, query if "QueryService" in infos else None, verify))


def _service(name: str, client: "IngestClient | QueryClient", infos: dict[str, "ServiceInfo"]) -> Check:
    try:
        serving = client.is_serving()
        info = client.get_info().info
    except RagError as error:
        return _failed(name, error)
    infos[name] = info
    if not serving:
        return Check(name=name, grade=Grade.PROBLEM, message=f"{client.address} takes no new calls: it shuts down")
    if info.version != __version__:
        return Check(
            name=name,
            grade=Grade.WARNING,
            message=f"{client.address} serves version {info.version}, and this is {__version__}",
            hint="install the same version on both sides",
        )
    return Check(name=name, grade=Grade.OK, message=f"{client.address} serves, version {info.version}")


def _data_directory(infos: Mapping[str, "ServiceInfo"]) -> Iterator[Check]:
    directories = {info.data_dir: info for info in infos.values()}
    if len(directories) > 1:
        yield Check(
            name="data directory",
            grade=Grade.WARNING,
            message=" and ".join(f"{name} has {info.data_dir}" for name, info in infos.items()),
            hint="unless that is one directory on two machines, give both services the same RAG_DATA_DIR",
        )
    for directory, info in directories.items():
        yield Check(name="data directory", grade=Grade.OK, message=directory)
        yield _disk(info)


def _disk(info: "ServiceInfo") -> Check:
    free, total = info.disk_free_bytes, info.disk_total_bytes
    grade = Grade.OK
    if free < _HARDLY_ANY_BYTES:
        grade = Grade.PROBLEM
    elif free < _LITTLE_BYTES or free < _LITTLE_SHARE * total:
        grade = Grade.WARNING
    hint = "delete versions with rag index delete, or empty the caches with rag cache purge all"
    return Check(
        name="disk space",
        grade=grade,
        message=f"{size(free)} of {size(total)} are free",
        hint="" if grade is Grade.OK else hint,
    )


def _generator(query: "QueryClient") -> Iterator[Check]:
    response = query.get_info()
    if response.generator_problem:
        yield Check(
            name="generator",
            grade=Grade.PROBLEM,
            message=response.generator_problem,
            hint="or start QueryService with RAG_GENERATOR=extractive",
        )
    else:
        yield Check(name="generator", grade=Grade.OK, message=response.generator)


def _caches(query: "QueryClient") -> Iterator[Check]:
    stats = query.cache_stats()
    yield Check(name="caches", grade=Grade.OK, message=f"{stats.database_path}, {size(stats.file_bytes)}")


def _corpora(ingest: "IngestClient", query: "QueryClient | None", verify: bool) -> Iterator[Check]:
    active = [index for index in ingest.list_indexes() if index.active]
    models = {model.identity: model for model in ingest.list_models().models}
    if not active:
        yield Check(
            name="corpora", grade=Grade.WARNING, message="nothing is published", hint=hint_for("NO_INDEX") or ""
        )
    for index in {index.embed_model_identity: index for index in active}.values():
        yield _model(index, models)
    for index in active:
        name = f"corpus {index.corpus}"
        if query is not None:
            yield from _guarded(name, _answers(name, index, query))
        if verify:
            yield from _guarded(name, _verified(name, index, ingest))


def _model(index: "Index", models: Mapping[str, "Model"]) -> Check:
    name, model = index.embed_model_name, models.get(index.embed_model_identity)
    prepare = f"prepare it with: rag model prepare {name}"
    if name.startswith(_BUILT_IN_MODEL):
        return Check(name="model", grade=Grade.OK, message=f"{name} is built in")
    if model is None:
        message = f"{name} is not prepared: QueryService needs sentence-transformers, and the model itself, for it"
        return Check(name="model", grade=Grade.WARNING, message=message, hint=prepare)
    if model.damage:
        return Check(name="model", grade=Grade.PROBLEM, message=f"{name} is damaged: {model.damage}", hint=prepare)
    return Check(name="model", grade=Grade.OK, message=f"{name} is prepared")


def _answers(name: str, index: "Index", query: "QueryClient") -> Iterator[Check]:
    """Whether a question would be answered from the active version."""
    answering = query.search("test", corpus=index.corpus, top_k=1, use_cache=False).corpus_id
    if answering == index.corpus_id:
        papers = counted(index.document_count, "paper", "papers")
        passages = counted(index.passage_count, "passage", "passages")
        yield Check(name=name, grade=Grade.OK, message=f"{papers}, {passages}, answers from {answering}")
    else:
        yield Check(
            name=name,
            grade=Grade.PROBLEM,
            message=f"{index.corpus_id} is not served; {answering} answers in its place",
            hint=hint_for("INDEX_DAMAGED") or "",
        )


def _verified(name: str, index: "Index", ingest: "IngestClient") -> Iterator[Check]:
    ingest.verify_index(corpus=index.corpus, corpus_id=index.corpus_id)
    yield Check(name=name, grade=Grade.OK, message=f"every file is intact, {size(index.size_bytes)} read")


def _guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """`checks`, and where a call fails what came of it."""
    try:
        yield from checks
    except RagError as error:
        yield _failed(name, error)


def _failed(name: str, error: RagError) -> Check:
    return Check(name=name, grade=Grade.PROBLEM, message=error.message, hint=hint_for(error.reason) or "")
