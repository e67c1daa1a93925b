"""The Verify call: answers of others, sentence by sentence."""

from collections.abc import Iterator

import grpc
import pytest

from rag_client import QueryClient
from rag_papers.errors import CorpusNotFound
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1.resources_pb2 import SENTENCE_CLASH_NEGATION, SENTENCE_CLASH_QUANTITY, Passage
from tests.query_service.query_harness import LIBRARY, Service, violations

QUESTION = "How is dropout applied?"
RIGHT = "To apply dropout, keep each hidden unit with a probability of 0.5."
WRONG = "To apply dropout, keep each hidden unit with a probability of 0.8."


@pytest.fixture
def client(library: Service) -> Iterator[QueryClient]:
    with QueryClient(library.address) as client:
        yield client


def test_what_the_papers_say_is_supported_by_their_bytes(client: QueryClient) -> None:
    response = client.verify(QUESTION, RIGHT)
    assert response.accepted
    assert response.score >= 0.72
    assert not response.issues
    [sentence] = response.sentences
    assert (sentence.text, sentence.supported, sentence.support, sentence.agreement) == (RIGHT, True, 1.0, 1.0)
    [citation] = sentence.citations
    data = LIBRARY[citation.document_id].encode()
    assert data[citation.start_byte : citation.end_byte].decode() == citation.quote == RIGHT
    assert response.passages[citation.source_rank - 1].passage_id == citation.passage_id
    assert (response.corpus, len(response.corpus_id)) == ("library", 16)
    assert response.intent == "explanation"
    assert set(response.timings_ms) == {"total"}
    assert len(response.trace_id) == 16


@pytest.mark.parametrize(
    "question", ["How is dropout applied?", "What is transfer learning?", "How do I apply dropout?"]
)
def test_an_answer_of_ask_is_judged_as_ask_did(client: QueryClient, question: str) -> None:
    asked = client.ask(question)
    response = client.verify(question, asked.answer)
    assert response.score == asked.score
    assert response.accepted == asked.accepted
    assert list(response.issues) == list(asked.issues)
    assert [passage.passage_id for passage in response.passages] == [
        source.passage.passage_id for source in asked.sources
    ]
    assert [sentence.text for sentence in response.sentences] == [sentence.text for sentence in asked.sentences]


def test_what_they_do_not_say_is_not(client: QueryClient) -> None:
    response = client.verify(QUESTION, f"{RIGHT} {WRONG}")
    right, wrong = response.sentences
    assert right.supported
    assert not wrong.supported
    assert SENTENCE_CLASH_QUANTITY in wrong.clashes
    assert pb.ANSWER_ISSUE_UNSUPPORTED in response.issues
    assert not response.accepted


def test_given_passages_are_all_that_counts(service: Service) -> None:
    passages = [
        Passage(text="Aspirin lowers fever. It does not cure malaria."),
        Passage(document_id="b.pdf", title="On quinine", first_page=7, start_byte=1000, text="Quinine cures malaria."),
    ]
    with QueryClient(service.address) as client:  # there is no index
        response = client.verify(
            "What cures malaria?", "Quinine cures malaria. [2] Aspirin does cure malaria.", passages=passages
        )
    quinine, aspirin = response.sentences
    assert quinine.supported
    [citation] = quinine.citations
    assert (citation.source_rank, citation.document_id, citation.title, citation.page) == (2, "b.pdf", "On quinine", 7)
    assert (citation.start_byte, citation.end_byte) == (1000, 1022)
    assert not aspirin.supported
    assert SENTENCE_CLASH_NEGATION in aspirin.clashes
    assert [passage.text for passage in response.passages] == [passage.text for passage in passages]
    assert len({passage.passage_id for passage in response.passages}) == 2
    assert (response.corpus, response.corpus_id) == ("", "")


def test_what_goes_the_other_way_agrees_less(service: Service) -> None:
    passages = [Passage(text="Over the years quinine reduced the fever of all patients with malaria.")]
    with QueryClient(service.address) as client:
        response = client.verify(
            "Does quinine help?",
            "Quinine leads to lower fever in malaria. Quinine leads to higher fever in malaria. "
            "Quinine does not lower fever in malaria.",
            passages=passages,
        )
    agreeing, turned, negated = (sentence.agreement for sentence in response.sentences)
    assert 1 > agreeing > max(turned, negated)
    assert min(turned, negated) > 0


def test_passages_are_measured_with_the_model_of_a_corpus(service: Service) -> None:
    passages = [Passage(text="Dropout removes units at random.", title="Dropout")]
    answer = "Units are removed at random by dropout, says the paper."
    with QueryClient(service.address) as client:
        [without] = client.verify(QUESTION, answer, passages=passages).sentences
        service.publish("library", LIBRARY)
        measured = client.verify(QUESTION, answer, passages=passages)
        service.publish("newer", {"a.txt": "A paper."}, model_name="no such model", model_identity="of none")
        [unusable] = client.verify(QUESTION, answer, passages=passages).sentences
    assert 0 < without.support < 1
    assert without.support != measured.sentences[0].support
    assert unusable.support == without.support
    assert not measured.corpus_id


def test_a_mark_that_names_the_wrong_passage_supports_nothing(service: Service) -> None:
    passages = [Passage(text="Aspirin lowers fever."), Passage(text="Quinine cures malaria.")]
    with QueryClient(service.address) as client:
        for mark, supported in (("[2]", True), ("[1]", False), ("[3]", False), ("", True)):
            response = client.verify("What cures malaria?", f"Quinine cures malaria. {mark}", passages=passages)
            assert [sentence.supported for sentence in response.sentences] == [supported], mark


def test_an_empty_answer_and_one_that_declines(client: QueryClient) -> None:
    empty = client.verify(QUESTION, "")
    assert empty.score <= 0.1
    assert not empty.accepted and not empty.declines and not empty.sentences
    declined = client.verify(QUESTION, "The papers do not say.")
    assert declined.declines
    assert (declined.score, declined.accepted, len(declined.sentences)) == (0, False, 0)


def test_the_threshold_is_the_callers(client: QueryClient) -> None:
    score = client.verify(QUESTION, WRONG).score
    assert client.verify(QUESTION, WRONG, config=pb.AskConfig(accept_threshold=score)).accepted
    assert not client.verify(QUESTION, RIGHT, config=pb.AskConfig(accept_threshold=1), intent="summarization").accepted


def test_nothing_of_an_answer_gets_into_the_caches(library: Service, client: QueryClient) -> None:
    client.verify(QUESTION, RIGHT)
    assert set(library.counts().values()) == {0}


def test_what_is_wrong_is_named_at_once(library: Service, client: QueryClient) -> None:
    request = pb.VerifyRequest(
        query=" ",
        intent="poetry",
        answer="a" * 10_001,
        passages=[Passage(text=" ")],
        config=pb.AskConfig(top_k_first=0),
    )
    wrong = violations(lambda: library.stub.Verify(request))
    assert set(wrong) == {"query", "intent", "answer", "passages", "config.top_k_first"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"passages": [Passage(text="a"), Passage(text="")]}, "blank"),
        ({"passages": [Passage(text="a")] * 101}, "101"),
        ({"passages": [Passage(text="a" * 60_000)] * 2}, "120,000"),
        ({"passages": [Passage(text="a", start_byte=-1)]}, "start_byte"),
        ({"passages": [Passage(text="a", passage_id="x"), Passage(text="b", passage_id="x")]}, "twice"),
        ({"passages": [Passage(text="a")], "corpus": "library"}, "contradict"),
        ({"passages": [Passage(text="a")], "corpus_id": "0" * 16}, "contradict"),
        ({"passages": [Passage(text="a")], "filter": pb.Filter(document_ids=["a"])}, "contradict"),
    ],
)
def test_passages_that_cannot_be(library: Service, fields: dict[str, object], words: str) -> None:
    request = pb.VerifyRequest(query="q", answer="a", **fields)  # type: ignore[arg-type]
    wrong = violations(lambda: library.stub.Verify(request))
    assert set(wrong) == {"passages"}
    assert words in wrong["passages"]


def test_passages_with_the_ids_that_would_be_made_up(service: Service) -> None:
    passages = [Passage(text="One is one."), Passage(text="Two is two.", passage_id="#1")]
    with QueryClient(service.address) as client:
        response = client.verify("What is one?", "One is one.", passages=passages)
    assert [passage.passage_id for passage in response.passages] == ["##1", "#1"]
    assert response.sentences[0].citations[0].source_rank == 1


def test_papers_that_there_are_not(client: QueryClient) -> None:
    with pytest.raises(CorpusNotFound):
        client.verify(QUESTION, RIGHT, corpus="nowhere")


def test_a_deadline_holds(library: Service) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        library.stub.Verify(pb.VerifyRequest(query=QUESTION, answer=RIGHT), timeout=1e-4)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
