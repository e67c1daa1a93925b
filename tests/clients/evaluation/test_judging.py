"""Measuring one answer."""

import pytest

from rag_client.evaluation.dataset import GoldSpan
from rag_client.evaluation.judging import citation_rank, keyword_recall
from rag_papers.v1.query_pb2 import AskResponse
from rag_papers.v1.resources_pb2 import AnswerSentence, Citation, Passage, Source


@pytest.mark.parametrize(
    ("keywords", "answer", "recall"),
    [
        ([], "anything", None),
        (["network"], "Deep Networks.", 1.0),
        (["network"], "A subnetwork.", 0.0),
        (["IL-6", "IL-60"], "It is IL-6.", 0.5),
        (["IL-6"], "It is IL-60.", 0.0),
        (["batch normalization"], "batch\n normalization", 1.0),
        (["0.5", "(a|b)"], "with 0.5 of (a|b)", 1.0),
        (["ﬁne"], "FINE tuning", 1.0),
        (["网络"], "深度网络", 1.0),
        (["one", "two", "three"], "one and three", 2 / 3),
        (["one"], "", 0.0),
    ],
)
def test_keywords(keywords, answer, recall):
    assert keyword_recall(answer, keywords) == recall


TEXT = "Naïve start. The unit is kept\nwith a probability of 0.5. The unit is kept. The end."


def _citing(*quotes: str, document_id: str = "d") -> AskResponse:
    """An answer whose sentences quote a passage that begins at byte 100."""
    passage = Passage(document_id="d", start_byte=100, end_byte=100 + len(TEXT.encode()), text=TEXT)
    sentences = []
    for quote in quotes:
        start = 100 + len(TEXT[: TEXT.index(quote)].encode())
        citation = Citation(
            source_rank=1, document_id=document_id, start_byte=start, end_byte=start + len(quote.encode()), quote=quote
        )
        sentences.append(AnswerSentence(text=quote, citations=[citation]))
    return AskResponse(sentences=sentences, sources=[Source(rank=1, passage=passage)])


KEPT = "The unit is kept\nwith a probability of 0.5."


@pytest.mark.parametrize(
    ("span", "rank"),
    [
        ({"start_byte": 114, "end_byte": 115}, 2),
        ({"start_byte": 113, "end_byte": 114}, None),  # the blank between them: ï has two bytes
        ({"start_byte": 112, "end_byte": 113}, 1),
        ({"start_byte": 0, "end_byte": 100}, None),
        ({"start_byte": 0, "end_byte": 101}, 1),
        ({"text": "a probability of 0.5"}, 2),
        ({"text": "kept with a probability"}, 2),
        ({"text": "kept with a probability of 0.5. The unit is kept."}, 2),
        ({"text": "The end."}, None),
        ({"text": "no such text"}, None),
        ({"text": "An earlier passage. Naïve start. The unit"}, 1),
    ],
)
def test_the_first_sentence_that_cites_the_place(span, rank):
    response = _citing("Naïve start.", KEPT)
    assert (
        citation_rank(response, [GoldSpan(document_id="other", text=KEPT), GoldSpan(document_id="d", **span)]) == rank
    )


def test_another_paper_is_another_place():
    assert citation_rank(_citing(KEPT, document_id="e"), [GoldSpan(document_id="d", text=KEPT)]) is None
    assert citation_rank(_citing(KEPT), []) is None
