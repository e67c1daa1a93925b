"""Judgements of collections in BEIR layout, and how good a ranking is by them."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)


def ndcg(ranking: Sequence[Name], judged: Mapping[Name, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain (Järvelin & Kekäläinen, 2002) with gain 2^relevance - 1, in [0, 1]."""

    def gain(relevances: Sequence[int]) -> float:
        return sum((2**relevance - 1) / math.log2(rank + 2) for rank, relevance in enumerate(relevances[:k]))

    ideal = gain(sorted(judged.values(), reverse=True))
    return gain([judged.get(name, 0) for name in ranking]) / ideal if ideal else 0.0


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Relevance by query and document."""
    judgements: dict[str, dict[str, int]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            judgements[row["query-id"]][row["corpus-id"]] = int(row["score"])
    return judgements
