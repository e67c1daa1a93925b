"""Freezing models: by the first ingest, and on request."""

import importlib.util
import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest

from ingest_service.chunking import embedding_text, fitting_texts
from rag_papers.errors import Internal
from rag_papers.persist.index_store import VECTORS, PassageRecord
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import frozen
from rag_papers.retrieval.encoders import HashingEncoder, Prompts
from rag_papers.v1 import ingest_pb2 as pb
from tests.agreement.tiny_models import make
from tests.ingest_service.ingest_harness import Service, refused, write

HERE = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "onnx", "onnxruntime"))
needs_libraries = pytest.mark.skipif(not HERE, reason="what models are frozen with is not installed")

TEXT = "Dropout removes units at random during training."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("tiny"), prompts=True, normalize=True)


def list_models(service: Service) -> list[object]:
    return list(service.stub.ListModels(pb.ListModelsRequest()).models)


@pytest.mark.model
@needs_libraries
@pytest.mark.filterwarnings("ignore")  # torch and transformers warn of their own futures
class TestModels:
    def test_are_frozen_by_the_first_ingest_found_by_whoever_asks_then_and_prepared_again_when_damaged(
        self, service: Service, root: Path, model: Path
    ) -> None:
        job = service.ingest(write(root / "papers", {"a.txt": TEXT}), model_name=str(model))
        [listed] = service.stub.ListModels(pb.ListModelsRequest()).models
        assert listed.identity == job.result.index.embed_model_identity
        assert (listed.model_name, listed.precision, listed.dim, listed.damage) == (str(model), "fp32", 48, "")
        assert listed.size_bytes > 0 < listed.prepare_time.seconds
        vectors = np.load(service.paths.indexes / job.result.index.corpus_id / VECTORS)
        encoder = frozen(ModelStore(service.paths.models), listed.identity, "x")
        np.testing.assert_array_equal(vectors, encoder.encode([f"passage: a\n{TEXT}"]))

        request = pb.PrepareModelRequest(model_name=str(model))
        response = service.stub.PrepareModel(request)
        assert (response.existed, response.model) == (True, listed)
        (service.paths.models / listed.identity / "model.onnx").write_bytes(b"")
        [damaged] = service.stub.ListModels(pb.ListModelsRequest()).models
        assert damaged.damage == "model.onnx has not its size"
        again = service.stub.PrepareModel(request)
        assert (again.existed, again.model.damage) == (False, "")

    def test_that_cannot_be_frozen_are_computed_by_the_reference(
        self, service: Service, root: Path, model: Path, tmp_path: Path
    ) -> None:
        odd = Path(shutil.copytree(model, tmp_path / "odd"))
        config = odd / "1_Pooling" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"pooling_mode": "lasttoken"}))
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "MODEL_UNAVAILABLE") as refusal:
            service.stub.PrepareModel(pb.PrepareModelRequest(model_name=str(odd)))
        assert "cannot be frozen: its pooling is lasttoken" in refusal.message
        job = service.ingest(write(root / "papers", {"a.txt": TEXT}), model_name=str(odd))
        assert job.result.embed_misses == 1
        assert list_models(service) == []


@pytest.mark.parametrize("name", ["hashing-64", "", "x" * 1025], ids=["built in", "default", "long"])
def test_requests_that_make_no_sense_are_refused(service: Service, name: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        service.stub.PrepareModel(pb.PrepareModelRequest(model_name=name))
    assert set(refusal.violations) == {"model_name"}


def test_a_model_that_is_not_here_cannot_be_prepared(service: Service) -> None:
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "MODEL_UNAVAILABLE"):
        service.stub.PrepareModel(pb.PrepareModelRequest(model_name="no-such-model"))
    assert list_models(service) == []


class TestWhatIsEmbedded:
    def passage(self, title: int, text: int) -> PassageRecord:
        return PassageRecord(
            passage_id="a#0", document_id="a", title=" ".join(["title"] * title), path="a", section="", first_page=0,
            last_page=0, start_byte=0, end_byte=1, text=" ".join(["text"] * text),
        )  # fmt: skip

    def test_has_title_and_prompt_where_they_fit_and_never_exceeds_the_window(self) -> None:
        encoder = HashingEncoder(8)
        encoder.prompts = Prompts(passage="passage: ")
        fits, full, too_long = self.passage(100, 155), self.passage(100, 156), self.passage(300, 10)
        texts = fitting_texts([fits, full, too_long], encoder)
        assert texts == ["passage: " + embedding_text(fits), "passage: " + full.text, "passage: " + too_long.text]
        assert max(encoder.count_tokens(texts)) == encoder.max_tokens

    def test_is_an_error_of_the_chunker_if_it_is_too_long_alone(self) -> None:
        with pytest.raises(Internal, match="a#0 has 257 tokens"):
            fitting_texts([self.passage(0, 257)], HashingEncoder(8))
