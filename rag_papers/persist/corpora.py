"""Corpus pointers: which version of a corpus is active, and which ones it had."""

import dataclasses
import functools
import json
import logging
import os
import re
import time
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rag_papers.errors import CorpusNotFound, IndexInUse, IndexNotFound, InvalidRequest, NoIndex
from rag_papers.persist.files import write_atomic
from rag_papers.persist.write_signal import WriteSignal

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[^\W_][\w .-]{0,63}")
_SHOWN = 20  # names listed in a message
_MAX_NAME_BYTES = 200  # with ".json" and a temporary suffix it must fit into a file name
_SETTLED_NS = 50_000_000  # more than the steps of any file system's clock, which follow the kernel's of 1 to 10 ms

Stamp: TypeAlias = tuple[int | None, tuple[tuple[int, int, int], ...]]
"""Tells one state of all pointers from another: the signal of their changes, if there is one, and their files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """One publication of an index to a corpus."""

    corpus_id: str
    publish_time: float
    """Seconds since the epoch."""
    job_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named set of papers: a pointer to its active version, and its history, oldest first."""

    name: str
    history: tuple[Version, ...]

    @property
    def active(self) -> Version:
        """The version that questions are answered from."""
        return self.history[-1]

    def versions(self) -> list[Version]:
        """Every version once, under its latest publication, newest first."""
        latest: dict[str, Version] = {}
        for version in reversed(self.history):  # their order, not their times: clocks are set back at times
            latest.setdefault(version.corpus_id, version)
        return list(latest.values())

    def version(self, corpus_id: str) -> Version:
        """The version `corpus_id`, under its latest publication. Raises IndexNotFound."""
        for version in self.versions():
            if version.corpus_id == corpus_id:
                return version
        raise IndexNotFound(f"corpus {self.name!r} has no index {corpus_id[:64]!r}", corpus_id=corpus_id[:64])


def named(corpora: Mapping[str, Corpus], name: str) -> Corpus:
    """The corpus `name`, which may be in any Unicode form. Raises CorpusNotFound."""
    name = _composed(name)
    if name not in corpora:
        names = ", ".join(sorted(corpora)[:_SHOWN]) + (", ..." if len(corpora) > _SHOWN else "")
        raise CorpusNotFound(f"there is no corpus {name[:64]!r}; there are: {names or 'none'}", corpus=name[:64])
    return corpora[name]


def select(corpora: Mapping[str, Corpus], name: str, corpus_id: str) -> tuple[Corpus, Version]:
    """A corpus and its version: `name` empty is the corpus published last, `corpus_id` empty its active version.

    With `corpus_id` alone, any corpus that has it, the one published last first. What the wire brings is compared with
    the ids in the pointers and never becomes part of a path itself. Raises NoIndex, CorpusNotFound or IndexNotFound.
    """
    if not corpora:
        raise NoIndex("nothing has been ingested yet: rag ingest DIR")
    if name:
        among = [named(corpora, name)]
    else:
        among = sorted(corpora.values(), key=lambda corpus: (corpus.active.publish_time, corpus.name), reverse=True)
    if not corpus_id:
        return among[0], among[0].active
    for corpus in among:
        for version in corpus.versions():
            if version.corpus_id == corpus_id:
                return corpus, version
    where = f"corpus {among[0].name!r}" if name else "any corpus"
    raise IndexNotFound(f"{where} has no index {corpus_id[:64]!r}", corpus_id=corpus_id[:64])


def valid_name(name: str) -> str:
    """`name` in Unicode NFC. Raises InvalidRequest if it cannot name a corpus."""
    name = _composed(name)
    if not _NAME.fullmatch(name) or name.endswith((" ", ".")) or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidRequest(
            violations={
                "corpus": f"{name[:80]!r} is not a corpus name: 1 to 64 letters, digits, spaces, '.', '_' or '-', "
                "beginning with a letter or digit, not ending in a space or '.'"
            }
        )
    return name


def _composed(name: str) -> str:
    """`name` in Unicode NFC; what is too long anyway is cut, for the time this takes grows with the square of marks."""
    return unicodedata.normalize("NFC", name[: _MAX_NAME_BYTES + 1])


def name_of_directory(directory: Path) -> str:
    """The default corpus name of a directory: its own name, characters that a name may not have replaced by '-'."""
    name = unicodedata.normalize("NFC", directory.name)
    return valid_name(re.sub(r"^[\W_]+", "", re.sub(r"[^\w .-]", "-", name))[:64].rstrip(" ."))


class Corpora:
    """The pointers of a data directory. One process writes; any number read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cached: dict[str, tuple[tuple[int, int, int], Corpus | None]] = {}
        self._names: tuple[str, ...] = (str(directory),)

    def all(self) -> dict[str, Corpus]:
        """Every corpus by name, as on disk now. A file that is no pointer is reported in the log and left out."""
        found: dict[str, tuple[tuple[int, int, int], Corpus | None]] = {}
        for path in self._paths():
            try:
                stat = path.stat()
                # A pointer is replaced, never changed, so that these three tell one version of it from another.
                stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                cached = self._cached.get(path.name)
                found[path.name] = cached if cached and cached[0] == stamp else (stamp, _read(path))
            except FileNotFoundError:  # deleted since it was listed
                continue
        self._cached = found
        self._names = (str(self._directory), *(str(self._directory / name) for name in found))
        return {corpus.name: corpus for _, corpus in found.values() if corpus}

    def stamp(self) -> Stamp | None:
        """Equal stamps, equal pointers since `all` was called last; None if that cannot be told just now.

        A file system's clock stands still for some milliseconds at a time: what has changed within that time might
        change again without a trace.
        """
        self._changes.check()
        signal = self._changes.value  # before the files: who writes now signals later
        try:
            stats = [os.stat(name) for name in self._names]  # noqa: PTH116 - for every answer; Path.stat is slower
        except OSError:
            return None
        if max(stat.st_mtime_ns for stat in stats) > time.time_ns() - _SETTLED_NS:
            return None
        return signal, tuple([(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats])

    def is_as(self, stamp: Stamp) -> bool:
        """Whether `publish` and `forget`, of any process, have changed nothing since `stamp` was taken.

        Told by their signal alone; where there is none, by the time of the directory.
        """
        signal, files = stamp
        if signal is not None:
            return self._changes.value == signal
        try:
            return os.stat(self._names[0]).st_mtime_ns == files[0][1]  # noqa: PTH116
        except OSError:
            return False

    @functools.cached_property
    def _changes(self) -> WriteSignal:  # made when it is needed: to look at the pointers leaves no file behind
        return WriteSignal(self._directory / ".changes")

    def unreadable(self) -> list[str]:
        """The names of the files that `all` leaves out: nobody knows which versions they mean."""
        return sorted(path.name for path in self._paths() if path.exists() and not _read(path))

    def publish(self, name: str, version: Version) -> None:
        """Makes `version` the active one of the corpus `name`, which is created if need be."""
        name = valid_name(name)
        path = self._path(name)
        corpus = _read(path) if path.exists() else None
        self._write(name, (*(corpus.history if corpus else ()), version))

    def forget(self, corpus: Corpus, corpus_ids: Collection[str]) -> None:
        """Removes versions from the history of `corpus`. Raises IndexInUse if the active one is among them."""
        if corpus.active.corpus_id in corpus_ids:
            raise IndexInUse(
                f"corpus {corpus.name!r} answers from index {corpus.active.corpus_id}: activate another version first",
                corpus=corpus.name,
                corpus_id=corpus.active.corpus_id,
            )
        self._write(corpus.name, [version for version in corpus.history if version.corpus_id not in corpus_ids])

    def _paths(self) -> Iterator[Path]:
        return self._directory.glob("[!.]*.json")

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _write(self, name: str, history: Sequence[Version]) -> None:
        document = {
            "corpus": name,
            "active": history[-1].corpus_id,
            "history": [dataclasses.asdict(version) for version in history],
        }
        write_atomic(self._path(name), json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
        self._changes.check()
        self._changes.give()


def _read(path: Path) -> Corpus | None:
    try:
        document = json.loads(path.read_bytes())
        corpus = Corpus(
            name=document["corpus"],
            history=tuple(
                Version(corpus_id=item["corpus_id"], publish_time=item["publish_time"], job_id=item["job_id"])
                for item in document["history"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and ignored: %s: %s", path, type(error).__name__, error)
        return None
    if corpus.name != unicodedata.normalize("NFC", path.stem) or not corpus.history:  # a copy, as people make them
        logger.warning("%s is not the pointer of corpus %r and ignored", path, corpus.name)
        return None
    return corpus
