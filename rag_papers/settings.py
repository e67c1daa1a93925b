"""Every setting once: name, default, unit and help. Environment, flags, docs and tests are made from this table."""

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_type_hints
from urllib.parse import urlsplit

from rag_papers.errors import InvalidRequest

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_PRECISIONS = ("fp32", "int8")
_RERANKER = re.compile(r"best-sentence|none|cross-encoder:.+")
_ENTAILMENT = re.compile(r"none|cross-encoder:.+")
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


def _log_level(text: str) -> None:
    if text.upper() not in _LOG_LEVELS:
        raise ValueError(f"{text!r} is none of {', '.join(_LOG_LEVELS)}")


def _precision(text: str) -> None:
    if text not in _PRECISIONS:
        raise ValueError(f"{text!r} is none of {', '.join(_PRECISIONS)}")


def _reranker(text: str) -> None:
    if not _RERANKER.fullmatch(text):
        raise ValueError(f"{text!r} is none of best-sentence, none, cross-encoder:MODEL")


def _entailment(text: str) -> None:
    if not _ENTAILMENT.fullmatch(text):
        raise ValueError(f"{text!r} is none of none, cross-encoder:MODEL")


def _address(text: str) -> None:
    match = _ADDRESS.fullmatch(text)
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")


def _url(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("it is not the URL of an endpoint, http or https, without user, query and fragment")


def _setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    check: Callable[[str], None] | None = None,
    secret: bool = False,
) -> Any:
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "check": check, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of both services. A field `x_y` is the environment variable RAG_X_Y and, but for secrets, the flag
    --x-y."""

    # ruff: noqa: RUF009 - _setting returns dataclasses.field(...)
    data_dir: Path = _setting(Path("data"), "where indexes, corpora, jobs and caches live", unit="directory")
    cache_dir: Path = _setting(
        Path(), "where the cache database lives; default: cache in the data directory", unit="directory"
    )
    jobs_dir: Path = _setting(Path(), "where the job log lives; default: jobs in the data directory", unit="directory")
    upload_dir: Path = _setting(
        Path(),
        "where uploaded papers live, which may be ingested whatever the corpus roots are; default: uploads in the data "
        "directory",
        unit="directory",
    )
    corpus_roots: tuple[Path, ...] = _setting(
        (),
        f"directories that may be ingested, with all below them, separated by {os.pathsep!r}; default: the home "
        "directory, and the parent of the working directory",
        unit="directories",
    )
    ingest_address: str = _setting(
        "127.0.0.1:50051", "address of IngestService; port 0 picks a free one", unit="host:port", check=_address
    )
    query_address: str = _setting(
        "127.0.0.1:50052", "address of QueryService; port 0 picks a free one", unit="host:port", check=_address
    )
    model: str = _setting("all-MiniLM-L6-v2", "embedding model of ingests that name none", unit="name")
    model_download: bool = _setting(True, "whether an ingest may fetch a model from the Hugging Face hub")
    encoder_precision: str = _setting(
        "fp32",
        "what an ingest computes vectors in: fp32, or int8, faster and less exact; an index is queried in its own",
        unit="precision",
        check=_precision,
    )
    max_workers: int = _setting(2, "jobs that run at once", unit="jobs", low=1)
    max_queued_jobs: int = _setting(100, "jobs that may wait", unit="jobs", low=1)
    max_job_attempts: int = _setting(3, "how often a job is started before it fails for good", unit="attempts", low=1)
    worker_silence_seconds: float = _setting(
        60.0, "how long a worker may give no sign of life before it is killed and replaced", unit="seconds", low=1
    )
    job_retention_days: float = _setting(7.0, "how long ended jobs are remembered", unit="days", low=0)
    keep_versions: int = _setting(
        3, "versions of a corpus that are kept when one is published, that one included", unit="versions", low=1
    )
    max_file_bytes: int = _setting(64 << 20, "largest file, or line of a BEIR file, that is read", unit="bytes", low=1)
    parse_seconds: float = _setting(
        60.0, "how long parsing one PDF, HTML or XML file may take", unit="seconds", low=0.01
    )
    parse_memory_bytes: int = _setting(
        1 << 30, "memory that parsing one PDF, HTML or XML file may take", unit="bytes", low=1
    )
    upload_quota_bytes: int = _setting(10 << 30, "size of all uploaded files together", unit="bytes", low=1)
    upload_max_files: int = _setting(100_000, "number of uploaded files", unit="files", low=1)
    upload_idle_seconds: float = _setting(
        300.0, "pause in the messages of an upload after which it is given up", unit="seconds", low=0.01
    )
    exact_passages: int = _setting(
        400_000, "passages above which an ingest builds an approximate index of the vectors", unit="passages", low=0
    )
    heartbeat_seconds: float = _setting(
        5.0, "pause after which a watch repeats an unchanged job", unit="seconds", low=0.01
    )
    max_query_chars: int = _setting(4000, "longest question", unit="characters", low=1)
    cache_embeddings_bytes: int = _setting(
        1 << 30, "most that the cache of embeddings may hold; 0: nothing", unit="bytes", low=0
    )
    cache_retrieval_bytes: int = _setting(
        256 << 20, "most that the cache of rankings may hold; 0: nothing", unit="bytes", low=0
    )
    cache_answers_bytes: int = _setting(
        256 << 20, "most that the cache of answers may hold; 0: nothing", unit="bytes", low=0
    )
    cache_embeddings_days: float = _setting(
        0.0, "age from which a cached embedding is computed anew; 0: never", unit="days", low=0
    )
    cache_retrieval_days: float = _setting(
        30.0, "age from which a cached ranking is computed anew; 0: never", unit="days", low=0
    )
    cache_answers_days: float = _setting(
        30.0, "age from which a cached answer is computed anew; 0: never", unit="days", low=0
    )
    session_days: float = _setting(
        365.0, "age of its last turn from which on a session is deleted; 0: never", unit="days", low=0
    )
    session_bytes: int = _setting(
        1 << 30, "most that all sessions may hold, those idle longest are deleted; 0: no bound", unit="bytes", low=0
    )
    cache_memory_bytes: int = _setting(
        64 << 20, "what a QueryService keeps of the caches in memory; 0: nothing", unit="bytes", low=0
    )
    reranker: str = _setting(
        "best-sentence",
        "reranker of questions that name none: best-sentence, none, or cross-encoder:MODEL with the name or directory "
        "of a cross-encoder that is on this machine",
        unit="name",
        check=_reranker,
    )
    generator: str = _setting(
        "extractive",
        "generator of questions that name none: extractive, or openai, a language model behind RAG_OPENAI_BASE_URL",
        unit="name",
    )
    openai_base_url: str = _setting(
        "",
        "endpoint of the generator openai, of OpenAI's protocol, such as http://127.0.0.1:11434/v1; questions and "
        "passages of papers are sent there",
        unit="URL",
        check=_url,
    )
    openai_model: str = _setting("", "model of the generator openai, by its name at the endpoint", unit="name")
    openai_api_key: str = _setting(
        "", "key of the endpoint, if it wants one; an environment variable alone, never a flag", unit="key", secret=True
    )
    openai_seconds: float = _setting(
        120.0, "how long the endpoint may take for an answer; a call's deadline bounds it too", unit="seconds", low=0.01
    )
    openai_max_tokens: int = _setting(1024, "longest answer of the endpoint", unit="tokens", low=1)
    entailment: str = _setting(
        "none",
        "what decides whether a paper contradicts an answer: none, where rules only warn of it, or cross-encoder:MODEL "
        "with the name or directory of a natural language inference model that is on this machine",
        unit="name",
        check=_entailment,
    )
    query_processes: int = _setting(
        1, "processes of QueryService, which share its port, the caches and the indexes", unit="processes", low=1
    )
    warm_questions: int = _setting(
        0,
        "how many of the questions that were asked often in the last seven days QueryService asks by itself when a "
        "corpus has a new active version",
        unit="questions",
        low=0,
        high=10_000,
    )
    abstain_threshold: float = _setting(
        0.48,
        "strength of the best sentence, 0 to 1, below which a question is not answered, unless it sets its own. On "
        "two development collections 0.42 leaves 4 to 6 percent of questions that have an answer unanswered, 57 "
        "percent of those whose paper is missing and 96 to 100 percent of those on another topic; 0.48: 13 to 15, 71, "
        "98 to 100; 0.50: 16 to 22, 78, 99 to 100",
        low=0,
        high=1,
    )
    query_threads: int = _setting(16, "questions worked on at once", unit="threads", low=1)
    drain_seconds: float = _setting(10.0, "how long calls in flight may take at shutdown", unit="seconds", low=0)
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", check=_log_level)

    def __post_init__(self) -> None:
        # The directories that default to a place inside another one, or beside the process.
        if self.cache_dir == Path():
            object.__setattr__(self, "cache_dir", self.data_dir / "cache")
        if self.jobs_dir == Path():
            object.__setattr__(self, "jobs_dir", self.data_dir / "jobs")
        if self.upload_dir == Path():
            object.__setattr__(self, "upload_dir", self.data_dir / "uploads")
        if not self.corpus_roots:
            object.__setattr__(self, "corpus_roots", _default_roots())

    @classmethod
    def load(cls, flags: Mapping[str, str] | None = None, env: Mapping[str, str] = os.environ) -> Self:
        """Settings from `flags` (by field name) over `env` over defaults; InvalidRequest names every bad value."""
        values: dict[str, Any] = {}
        violations: dict[str, str] = {}
        types = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            name = env_name(field.name)
            text = (flags or {}).get(field.name) or env.get(name)
            if not text:
                continue
            try:
                values[field.name] = _parse(text, types[field.name], field.metadata)
            except ValueError as error:
                violations[name] = str(error)
        if violations:
            raise InvalidRequest(violations=violations)
        return cls(**values)

    @classmethod
    def from_command_line(cls, prog: str, description: str, argv: Sequence[str] | None = None) -> Self:
        """Settings of a service started at a terminal; exits with 2 and a message on bad values."""
        parser = argparse.ArgumentParser(prog=prog, description=description)
        for field in dataclasses.fields(cls):
            if field.metadata["secret"]:  # everybody on the machine can read command lines
                continue
            unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
            default = "" if field.default in (Path(), (), "") else f" [default: {field.default}]"
            parser.add_argument(
                flag_name(field.name),
                dest=field.name,
                metavar="VALUE",
                help=f"{field.metadata['help']}{unit}{default} [env: {env_name(field.name)}]",
            )
        try:
            return cls.load(vars(parser.parse_args(argv)))
        except InvalidRequest as error:
            parser.error(error.message)


def env_name(field: str) -> str:
    """The environment variable of a field."""
    return f"RAG_{field.upper()}"


def flag_name(field: str) -> str:
    """The command line flag of a field."""
    return f"--{field.replace('_', '-')}"


def _parse(text: str, type_: Any, metadata: Mapping[str, Any]) -> Any:
    if type_ is bool:
        lowered = text.strip().lower()
        if lowered not in _BOOLEANS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _BOOLEANS[lowered]
    if type_ is Path:
        return _path(text)
    if type_ == tuple[Path, ...]:
        return tuple(_path(part) for part in text.split(os.pathsep) if part)
    if type_ is str:
        if metadata["check"]:
            metadata["check"](text)
        return text
    try:
        number = type_(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number) or number < metadata["low"]:
        raise ValueError(f"{text} is not {metadata['low']} or more")
    if number > metadata["high"]:
        raise ValueError(f"{text} is not {metadata['high']} or less")
    return number


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()  # "." would be Path(), which stands for the default
    except RuntimeError as error:  # "~nobody"
        raise ValueError(f"{text!r}: {error}") from None


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _default_roots() -> tuple[Path, ...]:
    # The root of the file system would allow everything, so it never becomes a default.
    here = Path.cwd().resolve()
    candidates = (Path.home().resolve(), here.parent, here)
    roots = dict.fromkeys(path for path in candidates if path != Path(path.anchor))
    return tuple(path for path in roots if not any(path != other and path.is_relative_to(other) for other in roots))
