import json
import os
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from ingest_service.build import build
from ingest_service.task import overall
from rag_papers.persist.job_log import JobStage
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.building import Data
from tests.ingest_service.conftest import Serve
from tests.ingest_service.ingest_harness import SAMPLE, Service, beir, files_below, write

SPANS = {
    rpb.JOB_STAGE_SCAN: (0.0, 0.10),
    rpb.JOB_STAGE_LEXICAL: (0.10, 0.40),
    rpb.JOB_STAGE_VECTORS: (0.40, 0.80),
    rpb.JOB_STAGE_SAVE: (0.80, 1.0),
}


@pytest.fixture
def sample(root: Path) -> Path:
    """A copy of the sample corpus."""
    return Path(shutil.copytree(SAMPLE, root / "sample"))


def stored_embeddings(service: Service) -> int:
    store = SqliteStore(service.paths.cache_db)
    try:
        return store.stats()[CacheTable.EMBEDDINGS].count
    finally:
        store.close()


def test_a_directory_becomes_a_published_index(service: Service, sample: Path) -> None:
    started = service.start(sample)
    assert started.state in (rpb.JOB_STATE_QUEUED, rpb.JOB_STATE_RUNNING)
    assert started.corpus_dir == str(sample)
    assert (started.corpus, started.model_name, started.use_cache) == ("sample", "hashing-64", True)

    job = service.end(started)
    count = len(list(SAMPLE.iterdir()))
    assert (job.state, job.stage, job.progress) == (rpb.JOB_STATE_SUCCEEDED, rpb.JOB_STAGE_SAVE, 1.0)
    assert (job.attempt, job.message) == (1, "published")
    assert job.create_time.ToNanoseconds() <= job.start_time.ToNanoseconds() <= job.finish_time.ToNanoseconds()
    assert (job.files_total, job.files_done, job.files_failed, job.files_skipped) == (count, count, 0, 0)
    assert not job.file_errors
    assert not job.HasField("error")

    index = job.result.index
    assert (index.corpus, index.active, index.document_count) == ("sample", True, count)
    assert index.passage_count == job.passages_total == job.passages_done > count
    assert (index.dim, index.embed_model_name) == (64, "hashing-64")
    assert (job.result.embed_hits, job.result.embed_misses, job.result.unchanged) == (0, index.passage_count, False)
    assert service.published() == [index.corpus_id]
    service.tidies_up()
    assert service.workers() == []


def test_the_manifest_holds_size_and_sha256_of_every_file(service: Service, sample: Path) -> None:
    index = service.ingest(sample).result.index
    files = files_below(service.paths.indexes / index.corpus_id)
    manifest = json.loads(files.pop("meta.json"))
    assert manifest["corpus_id"] == index.corpus_id
    assert manifest["files"] == {
        name: {"size": len(data), "sha256": sha256(data).hexdigest()} for name, data in files.items()
    }
    assert dict(index.checksums) == {name: sha256(data).hexdigest() for name, data in files.items()}
    assert index.size_bytes == sum(map(len, files.values()))


def test_passages_are_the_bytes_of_the_files(service: Service, sample: Path) -> None:
    index = service.ingest(sample).result.index
    lines = (service.paths.indexes / index.corpus_id / "passages.jsonl").read_text().splitlines()
    for passage in map(json.loads, lines):
        data = (sample / passage["path"]).read_bytes()
        assert data[passage["start_byte"] : passage["end_byte"]].decode() == passage["text"]


def test_text_of_any_script_comes_back_byte_for_byte(service: Service, root: Path) -> None:
    text = "Titre\n\nUn café, cafe\u0301.\r\n注意力机制很重要。第二句话。 الانتباه هو كل ما تحتاجه. 👩‍🔬 measured it.\n"
    index = service.ingest(write(root / "papers", {"ünïcode 论文.txt": text})).result.index
    data = (service.paths.indexes / index.corpus_id / "passages.jsonl").read_bytes()
    passages = [json.loads(line) for line in data.splitlines()]
    assert {passage["path"] for passage in passages} == {"ünïcode 论文.txt"}
    shown = "".join(text.encode()[p["start_byte"] : p["end_byte"]].decode() for p in passages)
    assert shown == "".join(p["text"] for p in passages)
    assert "".join(shown.split()) == "".join(text.split())


def test_a_watch_sees_the_stages_in_order_and_progress_that_never_falls(service: Service, root: Path) -> None:
    job = service.start(write(root / "papers", {"corpus.jsonl": beir(8000, 20)}))
    seen = [message.job for message in service.watch(job)]
    stages = [job.stage for job in seen if job.stage]
    assert stages == sorted(stages)
    assert all(a.progress <= b.progress and a.revision < b.revision for a, b in pairwise(seen))
    for now in seen:
        if now.stage:
            low, high = SPANS[now.stage]
            assert low <= now.progress <= high
        assert (now.progress == 1.0) == (now.state == rpb.JOB_STATE_SUCCEEDED) == now.HasField("result")
    embedding = [now for now in seen if now.stage == rpb.JOB_STAGE_VECTORS]
    assert any(0 < now.passages_done < now.passages_total and 0.40 < now.progress < 0.80 for now in embedding)
    assert seen[-1].state == rpb.JOB_STATE_SUCCEEDED


def test_progress_moves_within_every_stage_and_reaches_its_marks(tmp_path: Path) -> None:
    papers = write(tmp_path / "papers", {"corpus.jsonl": beir(3000)})
    task = Data(path=tmp_path).task(papers, exact_passages=2999)
    reports: list[tuple[JobStage, float]] = []
    build(task, lambda stage, fraction, message, **fields: reports.append((stage, fraction)))

    assert [stage for stage, _ in dict(reports).items()] == list(JobStage)
    progress = [overall(stage, fraction) for stage, fraction in reports]
    assert progress == sorted(progress)
    assert progress[-1] < 1.0
    for stage, (low, high) in zip(JobStage, SPANS.values(), strict=True):
        own = {overall(at, fraction) for at, fraction in reports if at is stage}
        assert low <= min(own) <= max(own) <= high
        if stage is not JobStage.SAVE:  # the end of which is the service's to tell
            assert max(own) == high
    for stage in (JobStage.SCAN, JobStage.SAVE):  # the others have been at work before they are what the job is at
        assert len({fraction for at, fraction in reports if at is stage and 0 < fraction < 1}) >= 2


def test_ingesting_the_same_again_publishes_nothing(service: Service, sample: Path) -> None:
    first = service.ingest(sample)
    before = files_below(service.paths.indexes) | files_below(service.paths.corpora)
    again = service.ingest(sample)
    assert again.job_id != first.job_id
    assert again.result.unchanged
    assert again.result.index == first.result.index
    assert (again.result.embed_hits, again.result.embed_misses) == (first.result.index.passage_count, 0)
    counts = [(j.files_total, j.files_done, j.files_failed, j.passages_total, j.passages_done) for j in (first, again)]
    assert counts[0] == counts[1]
    assert files_below(service.paths.indexes) | files_below(service.paths.corpora) == before


def test_touching_and_copying_change_nothing(service: Service, sample: Path, root: Path) -> None:
    first = service.ingest(sample).result.index
    for path in sample.iterdir():
        os.utime(path, (1, 1))
    touched = service.ingest(sample).result
    assert touched.unchanged
    assert touched.index == first

    copy = shutil.copytree(sample, root / "elsewhere" / "copy")
    copied = service.ingest(copy, corpus="sample").result
    assert copied.unchanged
    assert copied.index == first
    other = service.ingest(copy).result
    assert not other.unchanged
    assert (other.index.corpus, other.index.corpus_id) == ("copy", first.corpus_id)
    assert service.published() == [first.corpus_id]


def test_one_changed_byte_costs_the_passages_of_its_document_alone(service: Service, sample: Path) -> None:
    first = service.ingest(sample).result.index
    edited = sample / "adam-2014.txt"
    data = bytearray(edited.read_bytes())
    data[-3] ^= 1
    edited.write_bytes(data)
    job = service.ingest(sample)
    second = job.result.index
    assert second.corpus_id != first.corpus_id
    documents = (service.paths.indexes / second.corpus_id / "documents.jsonl").read_text().splitlines()
    (own,) = (d for d in map(json.loads, documents) if d["document_id"] == "adam-2014.txt")
    assert 1 <= job.result.embed_misses <= own["passage_count"]
    assert job.result.embed_hits + job.result.embed_misses == second.passage_count
    assert not job.result.unchanged


def test_a_deleted_and_a_renamed_file_make_another_version(service: Service, sample: Path) -> None:
    versions = [service.ingest(sample).result.index]
    (sample / "adam-2014.txt").rename(sample / "adam.txt")
    versions.append(service.ingest(sample).result.index)
    (sample / "adam.txt").unlink()
    versions.append(service.ingest(sample).result.index)
    assert len({index.corpus_id for index in versions}) == 3
    assert [index.document_count - versions[0].document_count for index in versions] == [0, 0, -1]


def test_going_back_to_earlier_papers_activates_their_version_again(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"a.txt": "the first version of this paper."})
    first = service.ingest(papers).result.index
    write(papers, {"a.txt": "the second version of this paper."})
    second = service.ingest(papers).result.index
    write(papers, {"a.txt": "the first version of this paper."})
    back = service.ingest(papers).result
    assert back.index.corpus_id == first.corpus_id
    assert not back.unchanged
    assert (back.embed_hits, back.embed_misses) == (1, 0)
    assert back.index.create_time.ToNanoseconds() > second.create_time.ToNanoseconds()
    assert [(i.corpus_id, i.active) for i in service.indexes()] == [(first.corpus_id, True), (second.corpus_id, False)]
    assert service.published() == sorted((first.corpus_id, second.corpus_id))


def test_without_the_cache_all_is_computed_and_nothing_stored(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"corpus.jsonl": beir(40)})
    first = service.ingest(papers, use_cache=False)
    assert (first.result.embed_hits, first.result.embed_misses) == (0, 40)
    assert stored_embeddings(service) == 0
    cached = service.ingest(papers, corpus="cached")
    assert cached.result.embed_hits == 40  # of the index that is there already
    again = service.ingest(papers, use_cache=False)
    assert (again.result.embed_hits, again.result.embed_misses) == (0, 40)
    assert again.result.unchanged
    assert not again.use_cache
    assert stored_embeddings(service) == 0


def test_the_cache_serves_what_the_indexes_have_lost(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"corpus.jsonl": beir(40)})
    index = service.ingest(papers).result.index
    assert stored_embeddings(service) == 40
    shutil.rmtree(service.paths.indexes / index.corpus_id)
    again = service.ingest(papers)
    assert (again.result.embed_hits, again.result.embed_misses) == (40, 0)
    assert service.published() == [index.corpus_id]


def test_equal_papers_give_equal_bytes_wherever_and_in_whatever_order(serve: Serve, root: Path, tmp_path: Path) -> None:
    names = ["b/2.md", "a/1.txt", "z.txt", "a/3.txt", "corpus.jsonl", "bad.txt"]
    contents: list[str | bytes] = [
        "# T\n\n## S\n\ntext of two.",
        "text of one.",
        "text of z.",
        "text, three.",
        beir(50),
        b"\xff",
    ]
    files = dict(zip(names, contents, strict=True))
    write(root / "one", files)
    write(root / "else" / "where" / "two", dict(reversed(files.items())))
    trees = []
    for number, papers in enumerate([root / "one", root / "else" / "where" / "two"]):
        service = serve(data_dir=tmp_path / f"data-{number}")
        job = service.ingest(papers, use_cache=bool(number))
        assert job.result.embed_misses == job.result.index.passage_count
        trees.append(files_below(service.paths.indexes))
        service.stop()
    assert trees[0].keys() == trees[1].keys()
    assert trees[0] == trees[1]


def test_equal_papers_under_other_settings_are_other_versions(service: Service, serve: Serve, root: Path) -> None:
    papers = write(root / "papers", {"a.txt": "one paper."})
    versions = {service.ingest(papers, model_name=name).result.index.corpus_id for name in ("hashing-64", "hashing-32")}
    service.stop()
    versions.add(serve(max_file_bytes=100).ingest(papers).result.index.corpus_id)
    assert len(versions) == 3


def test_beyond_a_number_of_passages_an_approximate_index_is_built(service: Service, serve: Serve, root: Path) -> None:
    small, large = write(root / "small", {"c.jsonl": beir(10)}), write(root / "large", {"c.jsonl": beir(11)})
    plain = [service.ingest(papers).result.index for papers in (small, large)]
    service.stop()
    service = serve(exact_passages=10)
    jobs = [service.ingest(papers) for papers in (small, large)]
    assert jobs[0].result.index.corpus_id == plain[0].corpus_id
    assert jobs[0].result.unchanged
    linked = jobs[1].result.index
    assert linked.corpus_id != plain[1].corpus_id
    more = set(linked.checksums) - set(plain[1].checksums)
    assert more == {"vectors.faiss", "vectors.order.npy", "vectors.copies.npy"}
    assert all(service.ingest(papers).result.unchanged for papers in (small, large))
    service.stop()
    assert serve().ingest(large).result.index.corpus_id == plain[1].corpus_id


@pytest.mark.model
def test_the_default_model_embeds_too(serve: Serve, root: Path) -> None:
    service = serve(model="all-MiniLM-L6-v2")
    index = service.ingest(write(root / "papers", {"a.txt": "attention is all you need."})).result.index
    assert (index.dim, index.embed_model_name, index.passage_count) == (384, "all-MiniLM-L6-v2", 1)
    assert len(index.embed_model_identity) == 32


def test_a_model_that_cannot_be_had_fails_the_job_and_says_what_to_do(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"a.txt": "one paper."})
    for name in ("no-such-model-anywhere", "/no/such/directory", "no such\\model"):
        job = service.fail(papers, model_name=name)
        assert job.error.reason == "MODEL_UNAVAILABLE"
        assert name.replace("\\", "\\\\") in job.error.message
        assert "To have it: " in job.error.message
        assert job.message == job.error.message
        assert job.progress < 1.0
        assert not job.HasField("result")
    assert service.published() == []
    service.tidies_up()


def test_a_model_directory_without_safe_weights_is_unavailable(service: Service, root: Path, tmp_path: Path) -> None:
    model = write(tmp_path / "model", {"config.json": "{}", "pytorch_model.bin": b"pickled"})
    job = service.fail(write(root / "papers", {"a.txt": "one paper."}), model_name=str(model))
    assert job.error.reason == "MODEL_UNAVAILABLE"
    assert "model.safetensors" in job.error.message


def test_papers_none_of_which_can_be_read_fail_the_job(service: Service, root: Path) -> None:
    job = service.fail(write(root / "papers", {"a.txt": b"\xff", "b.md": "# title alone\n", "c.jsonl": "{}\n"}))
    assert job.error.reason == "NO_PAPERS"
    assert "a.txt" in job.error.message
    assert {error.path: error.reason for error in job.file_errors} == {
        "a.txt": "NOT_UTF8",
        "b.md": "NO_TEXT",
        "c.jsonl:1": "BAD_LINE",
    }
    assert (job.files_total, job.files_done, job.files_failed) == (3, 0, 3)
    assert service.published() == []
    service.tidies_up()
