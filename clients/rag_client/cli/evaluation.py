"""`rag eval`: how good the service is on a judged collection."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag_client.cli import answer_evaluation, progress
from rag_client.cli.command import Group
from rag_client.cli.extras import need_library
from rag_client.cli.options import cache_options, corpus_options, weight_options, with_query_client
from rag_client.cli.output import fields, print_lines
from rag_client.cli.text import clean, counted, duration

if TYPE_CHECKING:
    from rag_client import QueryClient
    from rag_client.evaluation.retrieval import Report


@click.group("eval", cls=Group)
def evaluation() -> None:
    """Measure how good the service is."""


evaluation.add_command(answer_evaluation.answers)
evaluation.add_command(answer_evaluation.compare)


@evaluation.command()
@click.option(
    "--beir", "directory", metavar="DIR", required=True, help="Collection: queries.jsonl and qrels/SPLIT.tsv in it."
)
@click.option("--split", metavar="NAME", help="Judgements to use; default: test, or the only ones there are.")
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=1, show_default=True, help="Queries in flight at once."
)
@with_query_client()
@cache_options
@weight_options
@corpus_options
def retrieval(
    client: "QueryClient", as_json: bool, directory: str, split: str | None, concurrency: int, **request: Any
) -> None:
    """Measure the rankings of Search by the judgements of a BEIR collection.

    The collection must have been ingested. Documents are ranked by their best passage.
    """
    need_library("ir_measures", "measures rankings")
    from rag_client.evaluation import collection
    from rag_client.evaluation.retrieval import evaluate

    judged = collection.read(Path(directory), split)
    with progress.counting("search", len(judged.queries), "query", "queries") as advance:
        report = evaluate(client, judged, concurrency=concurrency, advance=advance, **request)
    if as_json:
        click.echo(json.dumps(_document(judged.split, report)))
    else:
        print_lines(_lines(judged.split, report))


def _document(split: str, report: "Report") -> dict[str, Any]:
    return {
        "split": split,
        "corpus": report.corpus,
        "corpus_id": report.corpus_id,
        "queries": report.queries,
        **dataclasses.asdict(report.measures),
        "latency_ms": dataclasses.asdict(report.latency),
        "cached_rankings": report.cached_rankings,
        "short_rankings": report.short_rankings,
    }


def _lines(split: str, report: "Report") -> Iterator[str]:
    from rag_client.evaluation.retrieval import DOCUMENTS, MAX_PASSAGES

    measures, latency = report.measures, report.latency
    yield from fields(
        [
            ("Corpus", f"{clean(report.corpus)} {report.corpus_id}"),
            ("Split", clean(split)),
            ("Queries", str(report.queries)),
            ("nDCG@10", f"{measures.ndcg_at_10:.4f}"),
            ("Recall@10", f"{measures.recall_at_10:.4f}"),
            ("Recall@100", f"{measures.recall_at_100:.4f}"),
            ("MRR@10", f"{measures.mrr_at_10:.4f}"),
            (
                "Latency",
                f"p50 {duration(latency.p50)}, p95 {duration(latency.p95)}, p99 {duration(latency.p99)}, "
                f"mean {duration(latency.mean)}, max {duration(latency.max)}",
            ),
            ("From cache", counted(report.cached_rankings, "ranking", "rankings")),
        ],
        indent="",
    )
    if report.short_rankings:
        yield (
            f"Recall@100 is a lower bound: for {counted(report.short_rankings, 'query', 'queries')} the best "
            f"{MAX_PASSAGES} passages belong to fewer than {DOCUMENTS} documents"
        )
