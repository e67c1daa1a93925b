"""After an edit: never the old answer, and no new one where the evidence is the same."""

import random
from collections.abc import Callable, Sequence

import pytest

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.extractive import ExtractiveGenerator
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1 import resources_pb2
from rag_papers.v1.resources_pb2 import (
    ANSWER_ORIGIN_GENERATED as GENERATED,
)
from rag_papers.v1.resources_pb2 import (
    ANSWER_ORIGIN_REVALIDATED as REVALIDATED,
)
from rag_papers.v1.resources_pb2 import (
    ANSWER_ORIGIN_STORED as STORED,
)
from tests.query_service.query_harness import LIBRARY, Service, check_citations

QUESTION = "What is transfer learning?"
CONFIG = pb.AskConfig(generator="counting", max_repairs=0)
UNRELATED = {"volcano.txt": "A volcano is a vent of the crust of a planet through which lava escapes."}


class Counting(ExtractiveGenerator):
    """Counts how often it has to write."""

    identity = "counting-1"

    def __init__(self) -> None:
        self.times = 0

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        self.times += 1
        return super().generate(assignment)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setitem(GENERATORS, "counting", lambda settings: counting)
    return counting


def origin(response: pb.AskResponse) -> resources_pb2.AnswerOrigin.ValueType:
    return response.cache.answer_origin


def test_an_answer_whose_evidence_is_the_same_is_not_written_again(library: Service, counting: Counting) -> None:
    first = library.ask(QUESTION, config=CONFIG)
    documents = LIBRARY | UNRELATED
    corpus_id = library.publish("library", documents)
    second, third = (library.ask(QUESTION, config=CONFIG) for _ in range(2))
    assert [origin(response) for response in (first, second, third)] == [GENERATED, REVALIDATED, STORED]
    assert counting.times == 1
    assert not second.cache.answer_hit
    assert second.answer == first.answer
    assert second.corpus_id == third.corpus_id == corpus_id
    check_citations(second, documents)
    searched = library.search(QUESTION, top_k=12)  # of the new version
    scores = {source.passage.passage_id: source.bm25_score for source in searched.sources}
    assert all(scores[source.passage.passage_id] == source.bm25_score for source in second.sources)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("source task", "source domain"),  # another text
        lambda text: "Once upon a time.\n\n" + text,  # the same text at another place
        lambda text: "# A title\n\n" + text,  # under another heading
        lambda text: "",  # gone
    ],
)
def test_an_answer_whose_evidence_differs_is_written_again(
    library: Service, counting: Counting, edit: Callable[[str], str]
) -> None:
    library.ask(QUESTION, config=CONFIG)
    documents = {name: edit(text) if name == "transfer.txt" else text for name, text in LIBRARY.items()}
    documents = {name: text for name, text in documents.items() if text}
    library.publish("library", documents)
    response = library.ask(QUESTION, config=CONFIG)
    assert origin(response) == GENERATED
    if response.sentences:
        check_citations(response, documents)
    assert response == strip(response, library.ask(QUESTION, config=CONFIG, use_cache=False))


def strip(like: pb.AskResponse, response: pb.AskResponse) -> pb.AskResponse:
    """`response` with what belongs to the call as it is in `like`."""
    response.cache.CopyFrom(like.cache)
    response.trace_id = like.trace_id
    response.timings_ms.clear()
    response.timings_ms.MergeFrom(like.timings_ms)
    return response


def test_nothing_is_reused_from_another_configuration_question_or_corpus(library: Service, counting: Counting) -> None:
    library.ask(QUESTION, config=CONFIG)
    library.publish("other", LIBRARY | UNRELATED)
    changed = pb.AskConfig(generator="counting", max_repairs=0, seed=1)
    for fields in ({"corpus": "other", "config": CONFIG}, {"corpus": "library", "config": changed}):
        assert origin(library.ask(QUESTION, **fields)) == GENERATED
    assert origin(library.ask("What is a transfer learning?", corpus="other", config=CONFIG)) == GENERATED


def test_a_refresh_and_no_cache_reuse_nothing(library: Service, counting: Counting) -> None:
    library.ask(QUESTION, config=CONFIG)
    library.publish("library", LIBRARY | UNRELATED)
    for fields in ({"use_cache": False}, {"refresh": True}):
        assert origin(library.ask(QUESTION, config=CONFIG, **fields)) == GENERATED
    assert counting.times == 3


def test_a_rollback_gives_the_answer_of_then(library: Service, counting: Counting) -> None:
    first = library.ask(QUESTION, config=CONFIG)
    library.publish("library", LIBRARY | {"transfer.txt": "Transfer learning is something else altogether now."})
    assert "something else" in library.ask(QUESTION, config=CONFIG).answer
    library.activate("library", first.corpus_id)
    response = library.ask(QUESTION, config=CONFIG)
    assert (origin(response), response.answer) == (STORED, first.answer)


def edited(generator: random.Random, documents: dict[str, str]) -> dict[str, str]:
    """A new state of the papers: one is changed, added, removed or moved about."""
    subjects = ("dropout", "batch normalization", "transfer learning", "attention")
    name = generator.choice(sorted(documents))
    text = documents[name]
    sentence = f"{generator.choice(subjects).capitalize()} is technique number {generator.randrange(1000)} of all."
    match generator.randrange(5):
        case 0:
            return documents | {name: text + "\n\n" + sentence}
        case 1:
            return documents | {name: sentence + "\n\n" + text}
        case 2:
            return documents | {f"paper-{generator.randrange(6)}.txt": sentence}
        case 3 if len(documents) > 2:
            return {other: documents[other] for other in documents if other != name}
        case _:
            paragraphs = text.split("\n\n")
            generator.shuffle(paragraphs)
            return documents | {name: "\n\n".join(paragraphs)}


def run_edits(service: Service, edits: int) -> dict[int, int]:
    """Asks after every edit, and compares with what is made without the caches; how often what came about."""
    generator = random.Random(7)
    documents: dict[str, str] = dict(LIBRARY)
    questions = ("What is dropout?", "What is batch normalization?", "What is transfer learning?", "What is attention?")
    origins = {GENERATED: 0, REVALIDATED: 0, STORED: 0}
    for _ in range(edits):
        documents = edited(generator, documents)
        corpus_id = service.publish("library", documents)
        for question in generator.sample(questions, 2):
            response = service.ask(question)
            fresh = service.ask(question, use_cache=False)
            origins[origin(response)] += 1
            assert response.corpus_id == corpus_id
            # All but the text is of this version; the text cites what stands there now.
            assert response.sources == fresh.sources
            assert response.status == fresh.status
            if response.sentences:
                check_citations(response, documents)
            if origin(response) != REVALIDATED:
                assert response.answer == fresh.answer
    return origins


def test_no_answer_is_stale_after_any_edit(library: Service) -> None:
    origins = run_edits(library, 40)
    assert all(origins[kind] for kind in (GENERATED, REVALIDATED))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_answer_is_stale_after_hundreds_of_edits(library: Service) -> None:
    origins = run_edits(library, 500)
    assert all(origins.values())
