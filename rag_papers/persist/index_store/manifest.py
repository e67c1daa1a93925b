"""The manifest `meta.json`: written last, it names every other file with its size and SHA-256.

It holds no clock times, so that equal input gives equal bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

from rag_papers.errors import FormatUnsupported
from rag_papers.persist.hashing import file_sha256
from rag_papers.persist.index_store.files import (
    MANIFEST,
    REQUIRED,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_ORDER,
    check_size,
    damaged,
    missing,
)
from rag_papers.retrieval.graph import EFFORTS, GRAPH

FORMAT = 4
"""Version of the directory's layout."""
FEATURES: Mapping[str, frozenset[str]] = {GRAPH: frozenset({VECTOR_GRAPH, VECTOR_ORDER, VECTOR_COPIES})}
"""Features that this reader understands, and the files of each; an index that needs another one is refused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """meta.json."""

    corpus_id: str
    document_count: int
    passage_count: int
    dim: int
    model_name: str
    model_identity: str
    analyzer: str
    chunker: str
    files: Mapping[str, Mapping[str, Any]]
    """By name: {"size": bytes, "sha256": lower-case hex}."""
    format: int = FORMAT
    features: tuple[str, ...] = ()
    graph_effort: int | None = None
    """With a graph alone: how many candidates its searches keep."""

    def document(self) -> dict[str, Any]:
        """Its fields as the file has them, without the checksum."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @property
    def size_bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file["size"] for file in self.files.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """A published version as callers see it."""

    corpus_id: str
    corpus: str
    active: bool
    document_count: int
    passage_count: int
    dim: int
    model_name: str
    model_identity: str
    size_bytes: int
    create_time: float
    """When it was published to the corpus, seconds since the epoch."""
    checksums: Mapping[str, str]
    """SHA-256 by file name."""

    @classmethod
    def of(cls, manifest: Manifest, *, corpus: str, active: bool, create_time: float) -> Self:
        """The version of `corpus` that `manifest` describes."""
        return cls(
            corpus_id=manifest.corpus_id,
            corpus=corpus,
            active=active,
            document_count=manifest.document_count,
            passage_count=manifest.passage_count,
            dim=manifest.dim,
            model_name=manifest.model_name,
            model_identity=manifest.model_identity,
            size_bytes=manifest.size_bytes,
            create_time=create_time,
            checksums={name: file["sha256"] for name, file in manifest.files.items()},
        )


def manifest_bytes(fields: Mapping[str, Any]) -> bytes:
    """The file of a manifest: JSON with sorted names, and with the SHA-256 of the other fields as `checksum`."""
    others = {name: value for name, value in fields.items() if name != "checksum"}
    compact = json.dumps(others, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    checksum = hashlib.sha256(compact.encode("utf-8", "surrogatepass")).hexdigest()
    document = json.dumps(others | {"checksum": checksum}, ensure_ascii=False, indent=1, sort_keys=True)
    return document.encode("utf-8", "surrogatepass") + b"\n"


def read_manifest(directory: Path, corpus_id: str = "") -> Manifest:
    """The manifest of an index, which is named after its directory unless `corpus_id` says otherwise.

    Raises IndexNotFound, IndexDamaged or FormatUnsupported.
    """
    path = directory / MANIFEST
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if not isinstance(document, dict):
        raise damaged(path, "it is no JSON object")
    features = document.get("features")
    if document.get("format") != FORMAT:
        raise _unsupported(directory, f"format {document.get('format')}")
    if data != manifest_bytes(document):
        raise damaged(path, "its checksum differs")
    if not isinstance(features, list):
        raise damaged(path, "its features are no list")
    if unknown := {str(feature) for feature in features} - FEATURES.keys():
        raise _unsupported(directory, f"format {FORMAT} with {', '.join(sorted(unknown))}")
    del document["checksum"]
    try:
        manifest = Manifest(**document | {"features": tuple(features)})
        facts = [(file["size"], file["sha256"]) for file in manifest.files.values()]
    except (TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if not all(isinstance(size, int) and isinstance(sha256, str) for size, sha256 in facts):
        raise damaged(path, "a size is no number or a digest no text")
    if absent := REQUIRED.union(*(FEATURES[feature] for feature in manifest.features)) - manifest.files.keys():
        raise damaged(path, f"it does not name {', '.join(sorted(absent))}")
    if (GRAPH in manifest.features) != (manifest.graph_effort in EFFORTS):
        raise damaged(path, f"the effort of its graph is {manifest.graph_effort}")
    if manifest.corpus_id != (corpus_id or directory.name):
        raise damaged(path, f"it belongs to index {manifest.corpus_id}")
    return manifest


def _unsupported(directory: Path, what: str) -> FormatUnsupported:
    return FormatUnsupported(
        f"index {directory.name} has {what}; this version reads format {FORMAT}: ingest the corpus again",
        corpus_id=directory.name,
    )


def verify(directory: Path, names: Collection[str] | None = None) -> Manifest:
    """Reads every file of a published index, or those named, and compares it with the manifest.

    Raises as `read_manifest` does, and IndexDamaged for a name that the manifest does not have.
    """
    manifest = read_manifest(directory)
    for name in manifest.files if names is None else names:
        if name not in manifest.files:
            raise damaged(directory / MANIFEST, f"it does not name {name}")
        file = manifest.files[name]
        check_size(directory / name, file["size"])
        try:
            digest = file_sha256(directory / name)
        except FileNotFoundError:  # deleted this very moment
            raise missing(directory / name) from None
        if digest != file["sha256"]:
            raise damaged(directory / name, "its SHA-256 differs from the manifest's")
    return manifest
