"""Judged collections in BEIR layout (Thakur et al., 2021): queries.jsonl and qrels/SPLIT.tsv."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rag_client.evaluation import lines
from rag_papers.errors import InvalidRequest

DEFAULT_SPLIT = "test"
"""The split that is meant unless another is named, or is the only one."""

MAX_RELEVANCE = 1000
"""Largest relevance, and largest negative one, that a judgement may have; the measures need space in proportion."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """The queries of one split and what is relevant to them."""

    split: str
    queries: Mapping[str, str]
    """Text by id, in the order of queries.jsonl; judged ones alone."""
    judgements: Mapping[str, Mapping[str, int]]
    """Relevance by query and document, for the same queries; above 0 is relevant."""


def read(directory: Path, split: str | None = None) -> Collection:
    """One split; unless named, `test` or the only one. InvalidRequest says what is wrong, and in which line."""
    texts = _queries(directory / "queries.jsonl")
    path = _judgement_file(directory / "qrels", split)
    judgements = _judgements(path, texts)
    queries = {query_id: text for query_id, text in texts.items() if query_id in judgements}
    return Collection(split=path.stem, queries=queries, judgements=judgements)


def _queries(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, fields in lines.read_objects(path):
        query_id = lines.identifier(place, fields, "_id")
        text = lines.text(place, fields, "text")
        if query_id in texts:
            raise InvalidRequest(f"{place}: a second query {query_id!r}")
        texts[query_id] = text
    return texts


def _judgement_file(directory: Path, split: str | None) -> Path:
    splits = {path.stem: path for path in sorted(directory.glob("*.tsv"))}
    if not splits:
        raise InvalidRequest(f"{directory}: it holds no judgements, SPLIT.tsv")
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    wanted = split or DEFAULT_SPLIT
    if wanted not in splits:
        raise InvalidRequest(f"{directory}: it holds no split {wanted!r}; there are: {', '.join(splits)}")
    return splits[wanted]


def _judgements(path: Path, queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for number, (place, line) in enumerate(lines.read_lines(path)):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3:
            raise InvalidRequest(f"{place}: it has not three columns, query, document and relevance")
        query_id, document_id, score = columns
        try:
            relevance = int(score)
        except ValueError as error:
            if number == 0:  # the header
                continue
            raise InvalidRequest(f"{place}: the relevance {score!r} is no whole number") from error
        if abs(relevance) > MAX_RELEVANCE:
            raise InvalidRequest(f"{place}: the relevance {relevance} is beyond {MAX_RELEVANCE}")
        if query_id not in queries:
            raise InvalidRequest(f"{place}: the query {query_id!r} is not in queries.jsonl")
        if judgements.setdefault(query_id, {}).setdefault(document_id, relevance) != relevance:
            raise InvalidRequest(f"{place}: the document {document_id!r} was judged otherwise before")
    if not judgements:
        raise InvalidRequest(f"{path}: it holds no judgement")
    return judgements
