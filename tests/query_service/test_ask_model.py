"""The sample papers and the real model: what people would ask, and what nobody could answer from them."""

import pytest

from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import Service, check_citations, names

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("question", "intent", "document", "words"),
    [
        ("What is transfer learning?", "definition", "survey-on-transfer-learning", "is the use of knowledge"),
        ("What is retrieval-augmented generation?", "definition", "retrieval-augmented", "first retrieves passages"),
        ("What is BM25?", "definition", "bm25", "is a ranking function"),
        ("What does BERT stand for?", "definition", "bert-2018", "Bidirectional Encoder Representations"),
        ("transfer learning", "unknown", "survey-on-transfer-learning", "is the use of knowledge"),
        (
            "What is the difference between dropout and batch normalization?",
            "comparison",
            "",
            "Unlike batch normalization, dropout",
        ),
        ("How does dense passage retrieval compare with BM25?", "comparison", "dense", "Compared with BM25"),
        ("How do I fine-tune BERT for classification?", "how_to", "bert", "To fine-tune BERT for classification, add"),
        ("How do I combine keyword and vector search results?", "how_to", "reciprocal", "sort by the sum"),
        ("How does HNSW work?", "explanation", "hnsw", "layer"),
        ("Summarize the attention is all you need paper", "summarization", "attention", "attention"),
        ("How many layers does BERT-Large have?", "unknown", "bert", "24 layers"),
    ],
)
def test_questions_are_answered(
    papers: Service, sample_documents: dict[str, str], question: str, intent: str, document: str, words: str
) -> None:
    response = papers.ask(question)
    assert names(pb.AnswerStatus, [response.status]) == ["ANSWER_STATUS_ANSWERED"]
    assert response.intent == intent
    assert words in response.answer
    assert response.sentences[0].citations[0].document_id.startswith(document)
    assert all(sentence.supported for sentence in response.sentences)
    assert response.score >= 0.72
    check_citations(response, sample_documents)


@pytest.mark.parametrize(
    "question",
    [
        "What is photosynthesis?",
        "What is reinforcement learning?",
        "Who won the World Cup in 2018?",
        "How do I bake bread?",
        "How do I train a dog?",
        "What is the difference between cats and dogs?",
        "Explain the French Revolution",
        "What is the transformer architecture of a power station?",
        "Which wing flap settings reduce drag of supersonic aircraft?",
    ],
)
def test_questions_from_elsewhere_are_not(papers: Service, question: str) -> None:
    response = papers.ask(question)
    assert names(pb.AnswerStatus, [response.status]) == ["ANSWER_STATUS_ABSTAINED"]
    assert response.abstain_reason == pb.ABSTAIN_REASON_WEAK_EVIDENCE


def test_a_long_question_is_not_cut_off(papers: Service) -> None:
    padding = "Please answer carefully and in full, as this matters to us. " * 60
    response = papers.search(f"{padding[:3900]} What is HNSW?", use_cache=False)
    assert response.cache.embed_misses > 1
    assert len(response.sources) == 10
