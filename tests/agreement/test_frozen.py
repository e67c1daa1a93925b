"""Frozen models against sentence-transformers: small ones of several architectures, and the real one."""

import functools
import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rag_papers.errors import ModelUnavailable
from rag_papers.persist.model_store import MANIFEST, FrozenModel, ModelStore
from rag_papers.persist.preparing import fastest, frozen, prepare
from rag_papers.retrieval.encoders import (
    FP32,
    INT8,
    Encoder,
    HashingEncoder,
    Prompts,
    SentenceTransformerEncoder,
    open_encoder,
)
from rag_papers.retrieval.encoders.freezing import LEAST_COSINE, NotFreezable, freeze
from rag_papers.retrieval.encoders.freezing_process import freeze_apart
from rag_papers.retrieval.encoders.frozen import GRAPH, FrozenEncoder
from rag_papers.retrieval.encoders.gathering import GatheringEncoder
from rag_papers.retrieval.models import ModelFiles
from tests.agreement.tiny_models import PROMPTS, WINDOW, change_json, make, sentences

HERE = all(importlib.util.find_spec(name) for name in ("sentence_transformers", "onnx", "onnxruntime"))
pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HERE, reason="what models are frozen with is not installed"),
    # torch and transformers warn of their own futures.
    pytest.mark.filterwarnings("ignore"),
]

SAMPLE = Path(__file__).parents[2] / "data" / "corpus"


class Model:
    """A model on disk, its reference, and its frozen form."""

    def __init__(self, path: str, root: Path, precision: str = FP32) -> None:
        self.store = ModelStore(root / "models")
        reference, asked = open_encoder(path), open_encoder(path, precision=precision)
        assert isinstance(reference, SentenceTransformerEncoder) and isinstance(asked, SentenceTransformerEncoder)
        self.reference, self.asked = reference, asked
        self.prepared = prepare(self.store, asked, freeze)
        self.frozen = frozen(self.store, asked.identity, path)

    @property
    def directory(self) -> Path:
        return self.prepared.model.directory


def _cls(path: Path) -> Path:
    return make(path, "cls")


def _max(path: Path) -> Path:
    return make(path, "max", normalize=True)


def _dense(path: Path) -> Path:
    from torch import nn

    return make(path, "mean", dense=nn.Tanh())


def _prompted(path: Path) -> Path:
    return make(path, "mean", prompts=True, normalize=True)


def _causal(path: Path) -> Path:
    change_json(make(path, "mean") / "config.json", is_decoder=True)
    return path / "model"


KINDS: dict[str, Callable[[Path], Path]] = {
    "cls": _cls,
    "max": _max,
    "dense": _dense,
    "prompted": _prompted,
    "causal": _causal,
}


@pytest.fixture(scope="module", params=[*KINDS, "real", "real in int8"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp(request.param)
    if request.param.startswith("real"):
        return Model("all-MiniLM-L6-v2", root, INT8 if request.param.endswith(INT8) else FP32)
    return Model(str(KINDS[request.param](root)), root)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp("small")
    return Model(str(_dense(root)), root)


@functools.cache
def reference_vectors(path: str) -> npt.NDArray[np.float32]:
    """What sentence-transformers makes of the texts; once for the precisions of a model."""
    reference, texts = open_encoder(path), texts_for_all()
    vectors = np.empty((len(texts), reference.dim), np.float32)
    for batch in reference.batches(texts):
        vectors[batch] = reference.encode([texts[position] for position in batch])
    return vectors


def texts_for_all() -> list[str]:
    """Real sentences, words in a row, and nothing."""
    lines = [line for path in sorted(SAMPLE.iterdir()) for line in path.read_text().splitlines()]
    return [*lines, *sentences(40), "", " ", "word " * 600]


def test_vectors_are_those_of_the_reference(model: Model) -> None:
    texts = texts_for_all()
    assert len(texts) > 250
    vectors, expected = model.frozen.encode(texts), reference_vectors(model.reference.name)
    assert (vectors.shape, vectors.dtype) == ((len(texts), model.reference.dim), np.float32)
    assert (vectors.astype(np.float64) * expected).sum(axis=1).min() >= LEAST_COSINE[model.asked.precision]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_attention_is_one_step_where_nothing_but_texts_enters_it(small: Model, tmp_path: Path) -> None:
    causal = Model(str(_causal(tmp_path)), tmp_path)
    assert b"MultiHeadAttention" in (small.directory / GRAPH).read_bytes()
    assert b"MultiHeadAttention" not in (causal.directory / GRAPH).read_bytes()


def test_facts_are_those_of_the_reference(model: Model) -> None:
    texts = texts_for_all()
    for fact in ("identity", "dim", "max_tokens", "prompts"):
        assert getattr(model.frozen, fact) == getattr(model.asked, fact)
    assert (model.asked.identity == model.reference.identity) == (model.asked.precision == FP32)
    assert model.frozen.count_tokens(texts) == model.reference.count_tokens(texts)


def test_a_vector_is_a_function_of_its_text_alone(model: Model) -> None:
    """Byte for byte, whatever the batch, the order, the number of threads and of batches at once."""
    texts = list(dict.fromkeys(texts_for_all()))[-120:]
    expected = {text: model.frozen.encode([text]).tobytes() for text in texts}
    dice = random.Random(4)
    others = [FrozenEncoder(model.directory, name="x", identity="x", at_once=number) for number in (1, 3)]
    for encoder in (model.frozen, *others):
        some = dice.sample(texts, dice.randint(len(texts) // 2, len(texts)))
        assert [row.tobytes() for row in encoder.encode(some)] == [expected[text] for text in some]


def test_int8_vectors_are_had_from_the_frozen_form_alone(tmp_path: Path) -> None:
    path = str(make(tmp_path / "model", "mean"))
    encoder = open_encoder(path, precision=INT8)
    with pytest.raises(ModelUnavailable, match="rag model prepare"):
        encoder.encode(["text"])
    change_json(Path(path) / "1_Pooling/config.json", pooling_mode="weightedmean")
    with pytest.raises(ModelUnavailable, match="cannot be had in int8"):
        fastest(ModelStore(tmp_path / "models"), open_encoder(path, precision=INT8), lambda why: None, freeze)


def test_a_text_longer_than_the_window_counts_up_to_it(small: Model) -> None:
    full = ["the "] * (WINDOW - 2)
    one, other = small.frozen.encode(["".join(full), "".join([*full, "dropout"])])
    np.testing.assert_array_equal(one, other)


def test_prompts_are_those_of_the_model(tmp_path: Path) -> None:
    path = _prompted(tmp_path)
    encoder = open_encoder(str(path))
    assert isinstance(encoder, SentenceTransformerEncoder)
    assert encoder.prompts == Prompts(query=PROMPTS["query"], passage=PROMPTS["passage"])
    text = "attention is all you need"
    asked, found = encoder.encode([encoder.prompts.query + text, encoder.prompts.passage + text])
    np.testing.assert_allclose(asked, encoder.model.encode_query(text, normalize_embeddings=True), atol=1e-6)
    np.testing.assert_allclose(
        found, encoder.model.encode(text, prompt_name="passage", normalize_embeddings=True), atol=1e-6
    )
    assert asked @ found < LEAST_COSINE[FP32]
    assert open_encoder("hashing-8").prompts == Prompts()
    change_json(path / "config_sentence_transformers.json", default_prompt_name="query", prompts={"query": "find: "})
    assert open_encoder(str(path)).prompts == Prompts(query="find: ", passage="find: ")


@pytest.fixture(params=["hashing", "reference", "frozen", "gathering"])
def encoder(request: pytest.FixtureRequest, small: Model) -> Encoder:
    encoders: dict[str, Encoder] = {
        "hashing": HashingEncoder(16),
        "reference": small.reference,
        "frozen": small.frozen,
        "gathering": GatheringEncoder(small.frozen),
    }
    return encoders[request.param]


class TestEveryEncoder:
    def test_returns_a_row_of_length_one_for_each_text(self, encoder: Encoder) -> None:
        texts = ["dropout", "", "attention is all you need", "dropout"]
        vectors = encoder.encode(texts)
        assert (vectors.shape, vectors.dtype) == ((4, encoder.dim), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(vectors[0], vectors[3])
        apart = np.concatenate([encoder.encode([text]) for text in texts])
        np.testing.assert_allclose(vectors, apart, atol=1e-6)

    def test_has_no_vectors_for_no_texts(self, encoder: Encoder) -> None:
        assert encoder.encode([]).shape == (0, encoder.dim)
        assert encoder.batches([]) == []
        assert encoder.count_tokens([]) == []

    def test_plans_every_text_once(self, encoder: Encoder) -> None:
        texts = sentences(100)
        batches = encoder.batches(texts)
        assert sorted(position for batch in batches for position in batch) == list(range(100))
        assert all(batches)
        lengths = [len(texts[position]) for batch in batches for position in batch]
        assert np.corrcoef(lengths, range(100))[0, 1] > 0.9

    def test_counts_tokens(self, encoder: Encoder) -> None:
        assert encoder.count_tokens(["", "attention is all you need"]) == [0, 5]
        assert encoder.max_tokens > 5


class TestDamage:
    @pytest.fixture
    def copied(self, small: Model, tmp_path: Path) -> tuple[ModelStore, FrozenModel]:
        store = ModelStore(tmp_path / "models")
        assert isinstance(small.reference, SentenceTransformerEncoder)
        prepared = prepare(store, small.reference, freeze)
        assert not prepared.existed
        return store, prepared.model

    @pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "no manifest"])
    def test_is_never_served_and_put_right_by_preparing(
        self, copied: tuple[ModelStore, FrozenModel], small: Model, damage: str
    ) -> None:
        store, model = copied
        before = {path.name: path.read_bytes() for path in model.directory.iterdir()}
        graph, manifest = model.directory / GRAPH, model.directory / MANIFEST
        data = bytearray(graph.read_bytes())
        match damage:
            case "flip":
                data[len(data) // 2] ^= 1
                graph.write_bytes(data)
            case "cut":
                graph.write_bytes(data[:-1])
            case "remove":
                graph.unlink()
            case "manifest":
                manifest.write_text("{}")
            case "no manifest":
                manifest.unlink()
        with pytest.raises(ModelUnavailable, match=r"damaged.*(model\.onnx|manifest\.json)"):
            frozen(store, model.facts.identity, "x")
        [listed] = store.all()
        assert bool(listed.damage) == (damage != "flip")  # a list looks at sizes alone
        assert not prepare(store, small.reference, freeze).existed  # type: ignore[arg-type]
        assert {path.name: path.read_bytes() for path in model.directory.iterdir()} == before
        assert prepare(store, small.reference, freeze).existed  # type: ignore[arg-type]

    def test_of_a_failed_attempt_nothing_is_left(self, small: Model, tmp_path: Path) -> None:
        store = ModelStore(tmp_path / "models")

        def write(directory: Path) -> None:
            (directory / "half").write_text("written")
            raise NotFreezable("no")

        with pytest.raises(NotFreezable):
            store.prepare(small.prepared.model.facts, write)
        assert store.all() == []
        assert [path.suffix for path in (tmp_path / "models" / ".staging").iterdir()] == [".lock"]

    def test_a_stamp_tells_a_model_that_was_prepared_anew(
        self, copied: tuple[ModelStore, FrozenModel], small: Model
    ) -> None:
        store, model = copied
        first = store.stamp(model.facts.identity)
        (model.directory / GRAPH).unlink()
        prepare(store, small.reference, freeze)  # type: ignore[arg-type]
        assert store.stamp(model.facts.identity) not in (0, first)
        assert store.stamp("0" * 32) == 0


class TestAProcessOfItsOwn:
    def test_freezes_whatever_was_imported_here_and_once_for_two_who_ask(self, small: Model, tmp_path: Path) -> None:
        code = """
import sys
from pathlib import Path
import faiss
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.encoders import open_encoder
print(prepare(ModelStore(Path(sys.argv[2])), open_encoder(sys.argv[1])).existed, "torch" in sys.modules)
"""
        command = [sys.executable, "-c", code, small.reference.name, str(tmp_path)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        told = sorted(process.communicate()[0].strip() for process in running)
        assert told == ["False False", "True False"]
        encoder = frozen(ModelStore(tmp_path), small.reference.identity, "x")
        np.testing.assert_array_equal(encoder.encode(["dropout"]), small.frozen.encode(["dropout"]))

    def test_raises_here_what_went_wrong_there(self, small: Model, tmp_path: Path) -> None:
        path = Path(shutil.copytree(small.reference.name, tmp_path / "model"))
        files = ModelFiles(name="odd", path=path)
        change_json(path / "1_Pooling/config.json", pooling_mode="lasttoken")
        with pytest.raises(NotFreezable, match="its pooling is lasttoken"):
            freeze_apart(files, tmp_path)
        (path / "modules.json").write_text("[")
        with pytest.raises(ModelUnavailable, match=r"modules\.json is damaged"):
            freeze_apart(files, tmp_path)
        (path / "modules.json").unlink()
        (path / "modules.json").mkdir()
        with pytest.raises(IsADirectoryError):
            freeze_apart(files, tmp_path)

    def test_that_dies_means_that_the_model_cannot_be_frozen(
        self, small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(NotFreezable, match="ended with exit code 1"):
            freeze_apart(small.reference.files, tmp_path)

    def test_that_died_before_it_was_told_what_to_do(
        self, small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Ended(subprocess.Popen[bytes]):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                self.wait()

        monkeypatch.setattr(sys, "executable", "/bin/false")
        monkeypatch.setattr(subprocess, "Popen", Ended)
        with pytest.raises(NotFreezable, match="ended with exit code 1"):
            freeze_apart(small.reference.files, tmp_path)

    def test_ends_when_nobody_waits_for_it(self, small: Model, tmp_path: Path) -> None:
        task = {"name": "x", "path": str(small.reference.files.path), "directory": str(tmp_path), "precision": FP32}
        done = subprocess.run(
            [sys.executable, "-m", freeze_apart.__module__],
            input=json.dumps(task) + "\n",
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")


class TestWhatIsNotUnderstood:
    @pytest.mark.parametrize(
        ("file", "changes", "why"),
        [
            ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "its pooling is weightedmean"),
            ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "its pooling is cls and mean"),
            ("1_Pooling/config.json", {"include_prompt": False}, "leaves out the prompt"),
            ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.GELU"}, "dense layer"),
            ("2_Dense/config.json", {"use_residual": True}, "dense layer"),
        ],
    )
    def test_is_computed_by_the_reference(
        self, small: Model, tmp_path: Path, file: str, changes: dict[str, object], why: str
    ) -> None:
        path = Path(shutil.copytree(small.reference.name, tmp_path / "model"))
        change_json(path / file, **changes)
        store, told = ModelStore(tmp_path / "models"), list[str]()
        encoder = open_encoder(str(path))
        assert fastest(store, encoder, told.append, freeze) is encoder
        assert len(told) == 1
        assert why in told[0]
        assert store.all() == []
