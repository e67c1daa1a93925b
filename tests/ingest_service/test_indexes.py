import json
import shutil
from pathlib import Path

import grpc
import pytest

from rag_papers import __version__
from rag_papers.persist.index_store import FORMAT, manifest_bytes
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.ingest_harness import Service, refused, write

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def versions(service: Service, root: Path, corpus: str, *texts: str) -> list[rpb.Index]:
    """Ingests one version of a corpus after the other."""
    return [service.ingest(write(root / corpus, {"a.txt": text}), corpus=corpus).result.index for text in texts]


def inactive(index: rpb.Index) -> rpb.Index:
    copy = rpb.Index()
    copy.CopyFrom(index)
    copy.active = False
    return copy


def test_before_any_ingest_there_is_nothing(service: Service) -> None:
    assert service.stub.ListIndexes(pb.ListIndexesRequest()) == pb.ListIndexesResponse()
    for fields in ({}, {"corpus": "papers"}, {"corpus_id": "0" * 16}):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_INDEX"):
            service.index(**fields)
    with refused(NOT_FOUND, "CORPUS_NOT_FOUND"):
        service.indexes(corpus="papers")


def test_versions_are_listed_by_corpus_newest_first(service: Service, root: Path) -> None:
    b = versions(service, root, "beta", "One.", "Two.", "Three.")
    a = versions(service, root, "alpha", "One.")
    assert a[0].corpus_id == b[0].corpus_id
    assert service.indexes() == [a[0], b[2], inactive(b[1]), inactive(b[0])]
    assert service.indexes(corpus="beta") == [b[2], inactive(b[1]), inactive(b[0])]
    assert service.indexes(corpus="alpha") == a

    assert service.index() == a[0]  # published last
    assert service.index(corpus="beta") == b[2]
    assert service.index(corpus="beta", corpus_id=b[0].corpus_id) == inactive(b[0])
    assert service.index(corpus_id=b[1].corpus_id) == inactive(b[1])
    assert service.index(corpus_id=a[0].corpus_id) == a[0]  # of the two corpora that hold it, the one published last

    pages, token = [], ""
    while True:
        page = service.stub.ListIndexes(pb.ListIndexesRequest(page_size=3, page_token=token))
        pages.append(list(page.indexes))
        if not (token := page.next_page_token):
            break
    assert pages == [[a[0], b[2], inactive(b[1])], [inactive(b[0])]]


def test_what_is_unknown_is_not_found(service: Service, root: Path) -> None:
    (index,) = versions(service, root, "papers", "One.")
    versions(service, root, "others", "Two.")
    for fields in ({"corpus": "no-such"}, {"corpus": "../papers"}, {"corpus": "no-such", "corpus_id": index.corpus_id}):
        with refused(NOT_FOUND, "CORPUS_NOT_FOUND") as refusal:
            service.index(**fields)
        assert refusal.metadata == {"corpus": fields["corpus"]}
    assert "others, papers" in refusal.message
    for fields in (
        {"corpus_id": "0" * 16},
        {"corpus_id": ".."},
        {"corpus_id": "../indexes/" + index.corpus_id},
        {"corpus": "others", "corpus_id": index.corpus_id},
    ):
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            service.index(**fields)
    with refused(NOT_FOUND, "CORPUS_NOT_FOUND"):
        service.indexes(corpus="no-such")


def test_bad_pages_are_invalid(service: Service) -> None:
    for request, field in (
        (pb.ListIndexesRequest(page_size=-1), "page_size"),
        (pb.ListIndexesRequest(page_size=1001), "page_size"),
        (pb.ListIndexesRequest(page_token="no-such-token"), "page_token"),
    ):
        with refused(INVALID, "INVALID_REQUEST") as refusal:
            service.stub.ListIndexes(request)
        assert set(refusal.violations) == {field}


def test_a_corpus_is_found_by_composed_and_decomposed_names(service: Service, root: Path) -> None:
    index = service.ingest(write(root / "papers", {"a.txt": "One."}), corpus="cafe\u0301").result.index
    assert index.corpus == "caf\u00e9"
    for name in ("cafe\u0301", "caf\u00e9"):
        assert service.index(corpus=name) == index
        assert service.indexes(corpus=name) == [index]


@pytest.mark.parametrize("manifest", [None, b"", b"{", b"[]", b"{}", b'{"format": %d}' % FORMAT])
def test_a_damaged_index_is_left_out_of_the_list_and_named_by_get(
    service: Service, root: Path, manifest: bytes | None
) -> None:
    old, new = versions(service, root, "papers", "One.", "Two.")
    meta = service.paths.indexes / old.corpus_id / "meta.json"
    meta.unlink()
    if manifest is not None:
        meta.write_bytes(manifest)
    assert service.indexes() == [new]
    if manifest == b"{}":
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "FORMAT_UNSUPPORTED"):
            service.index(corpus_id=old.corpus_id)
        return
    with refused(grpc.StatusCode.DATA_LOSS, "INDEX_DAMAGED") as refusal:
        service.index(corpus_id=old.corpus_id)
    assert refusal.metadata == {"file": "meta.json", "corpus_id": old.corpus_id}
    assert service.index() == new


def test_an_index_of_another_corpus_id_is_damaged(service: Service, root: Path) -> None:
    old, new = versions(service, root, "papers", "One.", "Two.")
    shutil.rmtree(service.paths.indexes / old.corpus_id)
    shutil.copytree(service.paths.indexes / new.corpus_id, service.paths.indexes / old.corpus_id)
    assert service.indexes() == [new]
    with refused(grpc.StatusCode.DATA_LOSS, "INDEX_DAMAGED"):
        service.index(corpus_id=old.corpus_id)


def test_an_index_that_is_gone_is_not_found(service: Service, root: Path) -> None:
    (index,) = versions(service, root, "papers", "One.")
    shutil.rmtree(service.paths.indexes / index.corpus_id)
    assert service.indexes() == []
    for fields in ({}, {"corpus": "papers"}, {"corpus_id": index.corpus_id}):
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            service.index(**fields)


@pytest.mark.parametrize("change", [{"format": 99}, {"features": ["from-the-future"]}])
def test_an_index_of_a_later_format_is_refused(service: Service, root: Path, change: dict[str, object]) -> None:
    (index,) = versions(service, root, "papers", "One.")
    meta = service.paths.indexes / index.corpus_id / "meta.json"
    meta.write_bytes(manifest_bytes(json.loads(meta.read_bytes()) | change))
    assert service.indexes() == []
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "FORMAT_UNSUPPORTED"):
        service.index()


@pytest.mark.parametrize("name", ["meta.json", "vectors.npy", "passages.jsonl", "failures.jsonl"])
def test_ingesting_again_repairs_a_damaged_index(service: Service, root: Path, name: str) -> None:
    papers = write(root / "papers", {"a.txt": "One."})
    index = service.ingest(papers).result.index
    damaged = service.paths.indexes / index.corpus_id / name
    before = damaged.read_bytes()
    damaged.write_bytes(before[:-1] + b"?" if before else b"?")
    again = service.ingest(papers).result
    assert again.index == index
    assert again.unchanged
    assert (again.embed_hits, again.embed_misses) == (1, 0)
    assert damaged.read_bytes() == before
    assert service.index() == index
    service.tidies_up()


def test_info_says_what_the_service_has_to_work_with(service: Service) -> None:
    info = service.stub.GetInfo(pb.IngestServiceGetInfoRequest()).info
    assert (info.version, info.data_dir) == (__version__, str(service.paths.indexes.parent))
    assert 0 < info.disk_free_bytes <= info.disk_total_bytes
