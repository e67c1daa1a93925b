"""The reference as it runs on a GPU; where there is none, torch computes in half precision on the CPU."""

import importlib.util
import sys

import numpy as np
import pytest

from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import fastest
from rag_papers.retrieval.encoders import INT8, SentenceTransformerEncoder, gpu, open_encoder
from rag_papers.retrieval.encoders.freezing import freeze
from rag_papers.retrieval.encoders.frozen import FrozenEncoder
from rag_papers.retrieval.encoders.reference import LARGE_ROWS
from tests.agreement.tiny_models import make, sentences

HERE = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "onnx", "onnxruntime"))
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not HERE, reason="what models are frozen with is not installed"),
    pytest.mark.filterwarnings("ignore"),  # torch and transformers warn of their own futures
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformerEncoder:
    encoder = open_encoder(str(make(tmp_path_factory.mktemp("tiny"))))
    assert isinstance(encoder, SentenceTransformerEncoder)
    return encoder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    return ModelStore(tmp_path_factory.mktemp("models"))


def dtype(encoder: object) -> str:
    assert isinstance(encoder, SentenceTransformerEncoder)
    return str(next(encoder.model.parameters()).dtype)


def test_half_precision_where_the_vectors_are_interchangeable(reference: SentenceTransformerEncoder) -> None:
    chosen = gpu.on_gpu(reference, reference, device="cpu")
    assert (dtype(chosen), dtype(reference)) == ("torch.float16", "torch.float32")
    assert chosen.identity == reference.identity
    texts = sentences(40)
    vectors, exact = chosen.encode(texts), reference.encode(texts)
    assert vectors.dtype == np.float32
    assert 0 < np.abs(vectors - exact).max() <= gpu.MOST_DIFFERENCE
    assert [len(batch) for batch in chosen.batches(["text"] * 1000)] == [LARGE_ROWS] * 3 + [1000 - 3 * LARGE_ROWS]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("limit", [1e-9, float("nan")])
def test_full_precision_where_they_are_not(
    reference: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(gpu, "MOST_DIFFERENCE", limit)
    chosen = gpu.on_gpu(reference, reference, device="cpu")
    assert (dtype(chosen), chosen.identity) == ("torch.float32", reference.identity)
    assert len(chosen.batches(["text"] * 1000)) == 4


@pytest.mark.parametrize("driver", [False, True])
@pytest.mark.parametrize("torch", [False, True])
def test_a_gpu_is_used_where_driver_and_torch_have_one(
    reference: SentenceTransformerEncoder, store: ModelStore, monkeypatch: pytest.MonkeyPatch, driver: bool, torch: bool
) -> None:
    asked = []
    monkeypatch.setattr(gpu, "has_gpu", lambda: driver)
    monkeypatch.setattr(gpu, "torch_has_gpu", lambda: asked.append("torch") or torch)
    real = gpu.on_gpu
    monkeypatch.setattr(gpu, "on_gpu", lambda exact, encoder: real(exact, encoder, device="cpu"))
    chosen = fastest(store, reference, pytest.fail, freeze)
    assert isinstance(chosen, SentenceTransformerEncoder if driver and torch else FrozenEncoder)
    assert bool(asked) == driver  # torch's import takes seconds
    int8 = open_encoder(reference.name, precision=INT8)
    assert isinstance(fastest(store, int8, pytest.fail, freeze), FrozenEncoder)


def test_a_gpu_that_fails_is_done_without(
    reference: SentenceTransformerEncoder, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(gpu, "torch_has_gpu", lambda: True)
    monkeypatch.setattr(gpu, "on_gpu", fails)
    assert isinstance(fastest(store, reference, pytest.fail, freeze), FrozenEncoder)


def test_a_machine_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    assert not gpu.has_gpu()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not gpu.torch_has_gpu()


@pytest.mark.parametrize(("init", "devices", "has"), [(0, 1, True), (0, 0, False), (100, 1, False)])
def test_a_driver_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch, init: int, devices: int, has: bool) -> None:
    class Driver:
        def __init__(self, name: str) -> None:
            assert name == "libcuda.so.1"

        def cuInit(self, flags: int) -> int:
            return init

        def cuDeviceGetCount(self, count: object) -> int:
            count._obj.value = devices  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr(gpu.ctypes, "CDLL", Driver)
    assert gpu.has_gpu() is has
