"""The questions of a collection as a dataset for `rag eval answers`.

    python benchmarks/questions.py DIRECTORY > questions.jsonl

DIRECTORY is a collection in BEIR layout with answer_spans.jsonl. A question's gold spans are the answers, its expected
keywords those of them that are short enough to be expected word for word.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from answers import read_spans

from rag_client.evaluation import collection, lines

SHORT = 40  # characters


def main(directory: Path) -> None:
    spans = read_spans(directory)
    texts: dict[str, list[str]] = defaultdict(list)
    for _, row in lines.read_objects(directory / "answer_spans.jsonl"):
        texts[row["qid"]].append(row["text"].strip())
    for query_id, query in collection.read(directory, None).queries.items():
        gold = [{"document_id": d, "start_byte": start, "end_byte": end} for d, start, end in spans.get(query_id, [])]
        keywords = [text for text in dict.fromkeys(texts[query_id]) if len(text) <= SHORT]
        print(json.dumps({"id": query_id, "query": query, "gold_spans": gold, "expected_keywords": keywords}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
