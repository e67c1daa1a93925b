"""Judged collections as the tests write them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def write(
    directory: Path,
    queries: Mapping[str, str],
    judgements: Iterable[tuple[str, str, int]],
    split: str = "test",
) -> Path:
    """Writes a collection, or one more split of it; returns its directory."""
    (directory / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": query_id, "text": text}) for query_id, text in queries.items()]
    (directory / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgements)]
    (directory / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return directory
