"""How well the strength of the evidence tells questions that the papers answer from those that they do not.

    python benchmarks/abstention.py DIRECTORY OTHER

Both are collections in BEIR layout. For each of the two: its own questions, the other's questions (foreign), and its
own with the papers that answer them left out by a filter (removed). Prints the AUC of the strength, the share
abstained at the threshold that leaves 15 % of its own questions unanswered, what the default threshold does, and the
risk and coverage over thresholds: coverage is the share of all questions, answerable and removed, that are answered,
risk the share of the removed among these.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from services import running_services

from rag_client import QueryClient
from rag_client.evaluation import collection, lines
from rag_client.evaluation.collection import Collection
from rag_papers.settings import Settings
from rag_papers.v1.query_pb2 import ANSWER_STATUS_ABSTAINED, AskConfig, Filter

Floats = npt.NDArray[np.float64]

FALSE_ABSTENTION = 0.15
MOST_IDS = 1000  # what a filter holds
THRESHOLDS = np.arange(0.30, 0.61, 0.04)


def main(first: Path, second: Path) -> None:
    judged = {directory: collection.read(directory) for directory in (first, second)}
    with running_services() as services:
        for directory in judged:
            services.ingest.ingest(directory, corpus=directory.name)
        for directory, other in ((first, second), (second, first)):
            sets = {
                "own": dict.fromkeys(judged[directory].queries.values()),
                "foreign": dict.fromkeys(judged[other].queries.values()),
                "removed": removed(directory, judged[directory]),
            }
            print(f"{directory.name}; questions: {', '.join(f'{len(each)} {name}' for name, each in sets.items())}")
            report({name: ask(services.query, directory.name, each) for name, each in sets.items() if each})


def removed(directory: Path, judged: Collection) -> dict[str, Filter | None]:
    """For each question a filter that lets all papers pass but those that answer it; none where there are too many."""
    papers = [row["_id"] for _, row in lines.read_objects(directory / "corpus.jsonl")]
    if len(papers) > MOST_IDS:
        return {}
    return {
        text: Filter(document_ids=[paper for paper in papers if judged.judgements[query_id].get(paper, 0) <= 0])
        for query_id, text in judged.queries.items()
    }


def ask(client: QueryClient, corpus: str, questions: Mapping[str, Filter | None]) -> tuple[Floats, Floats]:
    """The strength of the evidence for each question, and whether an Ask with the default settings abstains."""
    bare = AskConfig(max_repairs=0)
    strengths = [
        client.ask(text, corpus=corpus, filter=f, config=bare).evidence_strength for text, f in questions.items()
    ]
    replies = (client.ask(text, corpus=corpus, filter=f) for text, f in questions.items())
    return np.array(strengths), np.array([reply.status == ANSWER_STATUS_ABSTAINED for reply in replies], np.float64)


def report(measured: Mapping[str, tuple[Floats, Floats]]) -> None:
    own = measured["own"][0]
    cut = float(np.quantile(own, FALSE_ABSTENTION))
    for name, (strengths, abstained) in measured.items():
        line = f"  {name:8s} abstained by default {abstained.mean():.3f}"
        if name != "own":
            line += f"; AUC {auc(own, strengths):.3f}; below {cut:.3f}, the quantile {FALSE_ABSTENTION}: "
            line += f"{(strengths < cut).mean():.3f}"
        print(line)
    default = Settings.load({}).abstain_threshold
    print("  threshold  abstained: " + " ".join(f"{name:>8s}" for name in measured) + "   coverage  risk")
    for threshold in sorted([*THRESHOLDS, default]):
        shares = " ".join(f"{(strengths < threshold).mean():8.3f}" for strengths, _ in measured.values())
        print(f"  {threshold:9.2f}             {shares}   " + risk(own, measured.get("removed"), threshold))


def risk(own: Floats, removed: tuple[Floats, Floats] | None, threshold: float) -> str:
    if removed is None:
        return ""
    right, wrong = (own >= threshold).sum(), (removed[0] >= threshold).sum()
    return f"{(right + wrong) / (len(own) + len(removed[0])):8.3f} {wrong / max(1, right + wrong):5.3f}"


def auc(higher: Floats, lower: Iterable[float]) -> float:
    """How likely one of `higher` exceeds one of `lower`, ties half."""
    differences = higher[:, None] - np.array(lower)[None, :]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
