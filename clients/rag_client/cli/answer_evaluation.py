"""`rag eval answers` and `rag eval compare`: how good the answers are, and how runs differ."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag_client import deadlines
from rag_client.cli import progress
from rag_client.cli.command import Command
from rag_client.cli.exits import ExitCode, complain, give_hint
from rag_client.cli.extras import need_library
from rag_client.cli.options import cache_options, config_options, json_option, with_query_client
from rag_client.cli.output import fields, print_lines, table
from rag_client.cli.text import clean, counted, duration

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_client.evaluation.results import Pairing, Run
    from rag_papers.v1.query_pb2 import AskConfig

DATABASE = "eval.duckdb"
"""The results of all runs, in the directory that runs are written to."""

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="runs",
    metavar="DIR",
    show_default=True,
    help=f"Where {DATABASE} and a directory for each run are.",
)


def _run_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _RUN_NAME.fullmatch(value):
        raise click.BadParameter("up to 100 letters, digits, dots, hyphens and underscores, a letter or digit first")
    return value


@click.command(cls=Command)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="JSON lines: id, query, and if known intent, expected_keywords, gold_spans.",
)
@_output_option
@click.option("--run", "name", metavar="NAME", callback=_run_name, help="Name of the run; default: made of the time.")
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=1, show_default=True, help="Questions in flight at once."
)
@with_query_client(deadline=deadlines.ASK)
@cache_options
@config_options
def answers(
    client: "QueryClient",
    as_json: bool,
    dataset: Path,
    output: Path,
    name: str | None,
    concurrency: int,
    *,
    config: "AskConfig",
    **request: Any,
) -> None:
    """Measure the answers to the questions of a dataset.

    Writes report.md and results.csv to a directory of the run, and a row a question to the table eval_results of a
    DuckDB database, so that runs can be compared.
    """
    need_library("duckdb", "stores the results")
    from rag_client.evaluation import dataset as datasets
    from rag_client.evaluation.answers import check, evaluate
    from rag_client.evaluation.report import write_csv, write_markdown
    from rag_client.evaluation.results import opened

    questions = datasets.read(dataset)
    check(client, questions, config)
    with _complaints(), _begun(dataset, output, name) as (run, directory):
        with progress.counting("ask", len(questions), "question", "questions") as advance:
            evaluation = evaluate(client, questions, concurrency=concurrency, advance=advance, config=config, **request)
        write_csv(directory / "results.csv", evaluation.rows)
        # Another run may be storing its rows just now; those of this one are worth a wait.
        with opened(output / DATABASE, patience=30.0) as results:
            results.add(run, evaluation)
            summary = results.summary(run.run)
        write_markdown(directory / "report.md", summary, _pairs(summary), evaluation.rows)
    if as_json:
        click.echo(json.dumps(_document(summary) | {"directory": str(directory), "database": str(output / DATABASE)}))
    else:
        print_lines(fields(_pairs(summary), indent=""))
        print_lines(["", f"Written to {clean(str(directory))} and {clean(str(output / DATABASE))}"])


@click.command(cls=Command)
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@_output_option
@json_option
def compare(first: str, second: str, as_json: bool, output: Path) -> None:
    """Show how two runs of `rag eval answers` differ: the second less the first."""
    need_library("duckdb", "stores the results")
    from rag_client.evaluation.results import opened

    if not (output / DATABASE).is_file():
        complain(f"there are no runs in {output}", "measure answers with: rag eval answers --dataset FILE")
        raise click.exceptions.Exit(ExitCode.FAILED)
    with _complaints(), opened(output / DATABASE) as results:
        summaries = results.summary(first), results.summary(second)
        pairing = results.pairing(first, second)
    if summaries[0]["dataset_sha256"] != summaries[1]["dataset_sha256"]:
        give_hint("the runs asked different datasets")
    if as_json:
        click.echo(json.dumps(_comparison(*summaries, pairing)))
    else:
        print_lines(_differences(*summaries, pairing))


@contextmanager
def _complaints() -> Iterator[None]:
    """Ends the command where results cannot be read or written."""
    from rag_client.evaluation.results import ResultsError

    try:
        yield
    except (ResultsError, OSError) as error:
        complain(f"the results cannot be kept: {error}")
        raise click.exceptions.Exit(ExitCode.FAILED) from error


@contextmanager
def _begun(dataset: Path, output: Path, name: str | None) -> Iterator[tuple["Run", Path]]:
    """A new run and its directory, which goes again if nothing comes of it. Makes sure that both can be written."""
    from rag_client.evaluation.results import Run, opened

    start = datetime.now(UTC).replace(tzinfo=None)
    run = Run(
        run=name or f"answers-{start:%Y%m%d-%H%M%S-%f}",
        start_time=start,
        dataset=str(dataset),
        dataset_sha256=hashlib.sha256(dataset.read_bytes()).hexdigest(),
    )
    with opened(output / DATABASE) as results:
        taken = run.run in results.runs()
    directory = output / run.run
    if taken or directory.exists():
        raise click.BadParameter(f"there is a run {run.run!r} already", param_hint="--run")
    directory.mkdir()
    try:
        yield run, directory
    except BaseException:
        if not any(directory.iterdir()):
            directory.rmdir()
        raise


def _document(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as JSON holds it."""
    return dict(summary) | {
        "start_time": f"{summary['start_time'].isoformat(timespec='milliseconds')}Z",
        "config": json.loads(summary["config"] or "null"),
    }


def _comparison(a: Mapping[str, Any], b: Mapping[str, Any], pairing: "Pairing") -> dict[str, Any]:
    from rag_client.evaluation.results import MEASURES

    return {
        "first": _document(a),
        "second": _document(b),
        "difference": {name: None if None in (a[name], b[name]) else b[name] - a[name] for name in MEASURES},
        "pairing": dataclasses.asdict(pairing),
    }


def _pairs(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A summary for people."""
    value = {name: _shown(name, summary[name]) for name in _names()}
    return [
        ("Run", summary["run"]),
        ("Dataset", clean(summary["dataset"])),
        ("Corpus", f"{clean(summary['corpus'])} {summary['corpus_id']}"),
        ("Generator", clean(summary["generator"]) or "-"),
        ("Questions", str(summary["questions"]) + (f", {summary['failed']} failed" if summary["failed"] else "")),
        ("Accept@1", value["accept_at_1"]),
        ("Accepted", value["accepted"]),
        ("Mean score", value["mean_score"]),
        ("Repair rate", value["repair_rate"]),
        ("Abstention rate", value["abstention_rate"]),
        ("Keyword recall", value["keyword_recall"] + _of(summary["with_keywords"])),
        ("Citation overlap", value["citation_overlap"] + _of(summary["with_gold_spans"])),
        ("  first sentence", value["citation_overlap_at_1"]),
        (
            "Latency",
            f"p50 {value['latency_p50_ms']}, p95 {value['latency_p95_ms']}, mean {value['latency_mean_ms']}, "
            f"max {value['latency_max_ms']}",
        ),
        ("From cache", counted(summary["cached_answers"], "answer", "answers")),
    ]


def _of(count: int) -> str:
    return f" of {counted(count, 'question', 'questions')}" if count else ""


def _names() -> Sequence[str]:
    from rag_client.evaluation.results import MEASURES

    return MEASURES


def _shown(name: str, value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    if name.endswith("_ms"):
        return (("+" if value >= 0 else "-") if sign else "") + duration(abs(value))
    return f"{value:{sign}.4f}"


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], pairing: "Pairing") -> Iterator[str]:
    differences = _comparison(a, b, pairing)["difference"]
    rows = [
        (name, _shown(name, a[name]), _shown(name, b[name]), _shown(name, differences[name], sign="+"))
        for name in _names()
    ]
    columns = (a["run"], b["run"], "DIFFERENCE")
    yield from table(("MEASURE", *columns), rows, right=columns)
    equal = pairing.questions - pairing.higher - pairing.lower
    yield (
        f"\nOf {counted(pairing.questions, 'question', 'questions')} in both: score higher for {pairing.higher}, "
        f"lower for {pairing.lower}, equal for {equal}"
    )
    if pairing.changed:
        yield ""
        yield from table(("QUESTION", a["run"], b["run"]), [tuple(map(clean, row)) for row in pairing.changed])
