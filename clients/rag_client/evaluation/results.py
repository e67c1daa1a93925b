"""The results of all runs in one DuckDB database: the table `eval_results`, a row a question, and its summaries."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from rag_client.evaluation.answers import Evaluation
from rag_papers.errors import InvalidRequest

MEASURES = (
    "accept_at_1", "accepted", "mean_score", "repair_rate", "abstention_rate", "keyword_recall", "citation_overlap",
    "citation_overlap_at_1", "latency_p50_ms", "latency_p95_ms", "latency_mean_ms", "latency_max_ms",
)  # fmt: skip
"""The columns of `eval_summary` that measure a run."""

_TABLE = """
CREATE TABLE IF NOT EXISTS eval_results (
    run VARCHAR NOT NULL, start_time TIMESTAMP NOT NULL, dataset VARCHAR NOT NULL, dataset_sha256 VARCHAR NOT NULL,
    corpus VARCHAR NOT NULL, corpus_id VARCHAR NOT NULL,
    id VARCHAR NOT NULL, query VARCHAR NOT NULL, intent VARCHAR NOT NULL, status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, score DOUBLE NOT NULL, accepted BOOLEAN NOT NULL, accepted_first BOOLEAN NOT NULL,
    repaired BOOLEAN NOT NULL, repair_used BOOLEAN NOT NULL, issues VARCHAR[] NOT NULL, keyword_recall DOUBLE,
    citation_overlap BOOLEAN, citation_rank INTEGER, latency_ms DOUBLE NOT NULL, answer_hit BOOLEAN NOT NULL,
    answer VARCHAR NOT NULL, generator VARCHAR NOT NULL, config VARCHAR NOT NULL,
    PRIMARY KEY (run, id)
)"""

# The one place that says what the measures are. quantile_disc is the percentile by nearest rank.
_SUMMARY = """
CREATE OR REPLACE VIEW eval_summary AS SELECT
    run, min(start_time) AS start_time, min(dataset) AS dataset, min(dataset_sha256) AS dataset_sha256,
    min(corpus) AS corpus, min(corpus_id) AS corpus_id, max(generator) AS generator, max(config) AS config,
    count(*) AS questions,
    count(*) FILTER (status = 'failed') AS failed,
    count(*) FILTER (answer_hit) AS cached_answers,
    count(keyword_recall) AS with_keywords,
    count(citation_overlap) AS with_gold_spans,
    avg(accepted_first::INTEGER) AS accept_at_1,
    avg(accepted::INTEGER) AS accepted,
    avg(score) AS mean_score,
    avg(repaired::INTEGER) AS repair_rate,
    avg((status = 'abstained')::INTEGER) AS abstention_rate,
    avg(keyword_recall) AS keyword_recall,
    avg(citation_overlap::INTEGER) AS citation_overlap,
    avg((citation_overlap AND citation_rank = 1)::INTEGER) AS citation_overlap_at_1,
    quantile_disc(latency_ms, 0.5) AS latency_p50_ms,
    quantile_disc(latency_ms, 0.95) AS latency_p95_ms,
    avg(latency_ms) AS latency_mean_ms,
    max(latency_ms) AS latency_max_ms
FROM eval_results GROUP BY run"""


class ResultsError(Exception):
    """The database cannot be used; the message says why, for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What the rows of a run have in common."""

    run: str
    """Its name, unique in the database."""
    start_time: datetime
    """UTC, without a time zone."""
    dataset: str
    """Path of the dataset, as given."""
    dataset_sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairing:
    """How the questions that two runs have in common came out."""

    questions: int
    higher: int
    """Whose score is higher in the second run."""
    lower: int
    changed: Sequence[tuple[str, str, str]]
    """Id, first and second status of those whose status differs, by id."""


class Results:
    """An open database of results."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def add(self, run: Run, evaluation: Evaluation) -> None:
        """Stores all rows of a run, or none."""
        common = dataclasses.asdict(run) | {"corpus": evaluation.corpus, "corpus_id": evaluation.corpus_id}
        rows = [common | dataclasses.asdict(row) for row in evaluation.rows]
        names = list(rows[0])
        marks = ", ".join("?" * len(names))
        with _refusals():
            self._connection.begin()
            self._connection.executemany(
                f"INSERT INTO eval_results ({', '.join(names)}) VALUES ({marks})", [list(row.values()) for row in rows]
            )
            self._connection.commit()

    def runs(self) -> list[str]:
        """The names of all runs, oldest first."""
        return [name for (name,) in self._rows("SELECT run FROM eval_summary ORDER BY start_time, run")]

    def summary(self, run: str) -> dict[str, Any]:
        """The row of `eval_summary` of a run, by column. Raises InvalidRequest if there is no such run."""
        rows = self._rows("SELECT * FROM eval_summary WHERE run = ?", run)
        if not rows:
            raise InvalidRequest(f"there is no run {run!r}; there are: {', '.join(self.runs()) or 'none'}")
        return dict(zip([name for name, *_ in self._connection.description or ()], rows[0], strict=True))

    def pairing(self, first: str, second: str) -> Pairing:
        """Compares two runs question by question."""
        pairs = "FROM eval_results a JOIN eval_results b USING (id) WHERE a.run = ? AND b.run = ?"
        [(questions, higher, lower)] = self._rows(
            f"SELECT count(*), count(*) FILTER (b.score > a.score), count(*) FILTER (b.score < a.score) {pairs}",
            first, second,
        )  # fmt: skip
        changed = self._rows(
            f"SELECT id, a.status, b.status {pairs} AND a.status <> b.status ORDER BY id", first, second
        )
        return Pairing(questions=questions, higher=higher, lower=lower, changed=changed)

    def _rows(self, statement: str, *values: str) -> list[Any]:
        with _refusals():
            rows: list[Any] = self._connection.execute(statement, values).fetchall()
        return rows


@contextmanager
def opened(path: Path, patience: float = 0.0) -> Iterator[Results]:
    """The database at `path`, made if it is not there. Waits `patience` seconds for a process that writes to it."""
    with _refusals():
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path, time.monotonic() + patience)
    try:
        with _refusals():
            connection.execute(_TABLE)
            connection.execute(_SUMMARY)
        yield Results(connection)
    finally:
        connection.close()


def _connect(path: Path, end: float) -> duckdb.DuckDBPyConnection:
    while True:
        try:
            return duckdb.connect(path)
        except duckdb.IOException:
            if time.monotonic() >= end:
                raise
        time.sleep(0.1)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise ResultsError(str(error).splitlines()[0]) from error
