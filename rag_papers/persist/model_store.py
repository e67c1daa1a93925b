"""Frozen models on disk: written aside, verified, published by a rename, and never served when damaged.

The manifest is written last and names every other file with its size and SHA-256.
"""

import dataclasses
import fcntl
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rag_papers.errors import ModelUnavailable
from rag_papers.persist.files import fsync_directory, fsync_file, write_atomic
from rag_papers.persist.hashing import file_sha256

logger = logging.getLogger(__name__)

FORMAT = 4
"""Version of the directory's layout; a frozen model of another one is prepared again."""
MANIFEST = "manifest.json"
_STAGING = ".staging"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model before it is frozen."""

    name: str
    """The name that it was asked for by."""
    identity: str
    """Digest of all that shapes its vectors; names the directory."""
    precision: str
    """Of its weights and what is computed with them: fp32 or int8."""
    dim: int
    """Length of a vector."""
    max_tokens: int
    """Most tokens of a text, marks of the model's own not counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file of a frozen model as it was written."""

    size: int
    """Bytes."""
    sha256: str
    """Lower-case hex."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenModel:
    """A frozen model as its manifest describes it."""

    directory: Path
    facts: ModelFacts
    files: Mapping[str, ModelFile]
    prepare_time: float
    """When it was published, seconds since the epoch."""
    damage: str = ""
    """What is wrong with its files; empty: nothing that was looked for."""

    @property
    def size_bytes(self) -> int:
        """Size of its files, the manifest not counted."""
        return sum(file.size for file in self.files.values())


class ModelStore:
    """The frozen models of a data directory. Any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def verified(self, identity: str) -> FrozenModel:
        """The model of an identity, after every file was read. Raises ModelUnavailable if it is absent or damaged."""
        model = self._read(identity)
        if model is None:
            raise ModelUnavailable("it has not been prepared")
        if damage := model.damage or _damage(model, whole=True):
            raise ModelUnavailable(f"its frozen form in {model.directory} is damaged: {damage}")
        return model

    def stamp(self, identity: str) -> int:
        """Changes whenever the model of an identity is published anew; 0 if there is none. Costs one look."""
        try:
            return (self._root / identity / MANIFEST).stat().st_mtime_ns
        except OSError:
            return 0

    def all(self) -> list[FrozenModel]:
        """Every frozen model, by name and identity; sizes are looked at, contents are not."""
        names = [path.name for path in self._root.iterdir() if path.name != _STAGING] if self._root.is_dir() else []
        found = [
            dataclasses.replace(model, damage=model.damage or _damage(model, whole=False))
            for model in map(self._read, names)
            if model
        ]
        return sorted(found, key=lambda model: (model.facts.name, model.facts.identity))

    def prepare(self, facts: ModelFacts, write: Callable[[Path], None]) -> tuple[FrozenModel, bool]:
        """The intact model of an identity, and whether it was there: if not, `write` fills a directory with its files.

        Of several processes that want the same model one writes, the others wait for it. Raises what `write` raises,
        and nothing is left then; a damaged model is gone too.
        """
        with self._locked(facts.identity) as staging:
            try:
                return self.verified(facts.identity), True
            except ModelUnavailable as error:
                logger.info("model %s is being prepared: %s", facts.name, error)
            target = self._root / facts.identity
            if target.exists():
                target.rename(staging / "damaged")
            fresh = staging / "fresh"
            fresh.mkdir()
            write(fresh)
            files = {}
            for path in sorted(fresh.iterdir()):
                fsync_file(path)
                files[path.name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
            manifest = {"format": FORMAT, **dataclasses.asdict(facts), "files": files}
            write_atomic(fresh / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
            fresh.rename(target)
            fsync_directory(self._root)
            return self.verified(facts.identity), False

    @contextmanager
    def _locked(self, identity: str) -> Iterator[Path]:
        """A directory of one's own while nobody else prepares this model."""
        (self._root / _STAGING).mkdir(parents=True, exist_ok=True)
        with (self._root / _STAGING / f"{identity}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in (self._root / _STAGING).glob(f"{identity}-*"):  # by a process that died
                shutil.rmtree(left, ignore_errors=True)
            staging = self._root / _STAGING / f"{identity}-{secrets.token_hex(4)}"
            staging.mkdir()
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _read(self, identity: str) -> FrozenModel | None:
        directory = self._root / identity
        unknown = ModelFacts(name="", identity=identity, precision="", dim=0, max_tokens=0)
        try:
            content = json.loads((directory / MANIFEST).read_bytes())
            if content.pop("format") != FORMAT:
                raise ValueError("its format is that of another version")
            files = {name: ModelFile(**file) for name, file in content.pop("files").items()}
            facts = ModelFacts(**content)
            if facts.identity != identity:
                raise ValueError(f"it belongs to the model {facts.identity}")
        except (FileNotFoundError, NotADirectoryError):
            if not directory.is_dir():
                return None
            return FrozenModel(
                directory=directory, facts=unknown, files={}, prepare_time=0.0, damage=f"{MANIFEST} is missing"
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return FrozenModel(
                directory=directory, facts=unknown, files={}, prepare_time=0.0, damage=f"{MANIFEST}: {error}"
            )
        return FrozenModel(directory=directory, facts=facts, files=files, prepare_time=self.stamp(identity) / 1e9)


def _damage(model: FrozenModel, *, whole: bool) -> str:
    for name, file in model.files.items():
        path = model.directory / name
        try:
            if path.stat().st_size != file.size:
                return f"{name} has not its size"
            if whole and file_sha256(path) != file.sha256:
                return f"{name} has not its SHA-256"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return ""
