import dataclasses
import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest_service import chunking
from ingest_service.chunking import LONGEST_PASSAGE, MAX_PASSAGE_TOKENS, CountTokens, chunk, embedding_text
from ingest_service.readers import markdown, text
from ingest_service.readers.document import Document, Section
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.sentences import sentences

WORDS = st.one_of(
    st.sampled_from("model BERT e.g. al. Fig. 3.14 F1=0.9 don't A. …and x² ½ -- # ## ``` | *a* \ufeff".split(" ")),
    st.sampled_from("注意力机制。 第二句！ ある文。 هذا؟ 👩‍🔬 🇫🇷 e\u0301 \u200b \u00ad \u0000 \x1f".split(" ")),
    st.text(min_size=1, max_size=8).filter(lambda word: word.isprintable()),
    st.integers(1, 50).map(lambda times: "unbroken" * times),
    st.integers(1, 700).map(lambda times: "论文" * times),
)
GAPS = st.sampled_from(
    [" ", " ", " ", "  ", ". ", "? ", ".\n", "\n", "\r\n", "\n\n", "\r\n\r\n", "\t", "\u3000", "", "\n## H\n"]
)
PIECES = st.tuples(WORDS, GAPS).map("".join)
DOCUMENTS = st.builds(
    lambda front, pieces, times: front + "".join(pieces) * times,
    st.sampled_from(["", "\ufeff", "# Title\n", "Title\n\n", "\n \n"]),
    st.lists(PIECES, min_size=1, max_size=40),
    st.sampled_from([1, 1, 3, 15]),
)


def words(texts: Sequence[str]) -> list[int]:
    """Tokens as the hashing encoder counts them."""
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    """Tokens of a tokenizer that also counts the white space between sentences."""
    return [len(text) for text in texts]


def documents(content: str) -> list[Document]:
    """`content` as the readers of text and of Markdown see it."""
    file = content.encode()
    found = [next(read("a", io.BytesIO(file), 1 << 20)) for read in (text.read, markdown.read)]
    return [document for document in found if isinstance(document, Document)]


def outside_of(data: bytes, ranges: list[tuple[int, int]]) -> str:
    """What is left of `data` without `ranges`, which must be in order and apart from each other."""
    left, last = b"", 0
    for start, end in ranges:
        assert last <= start < end <= len(data)
        left += data[last:start]
        last = end
    return (left + data[last:]).decode()


def check(document: Document, max_tokens: int, count_tokens: CountTokens) -> list[PassageRecord]:
    """Checks all that is promised of the passages of a document."""
    passages = chunk(document, "path/of/file", max_tokens=max_tokens, count_tokens=count_tokens)
    data = document.text.encode()
    window = min(max_tokens, MAX_PASSAGE_TOKENS)

    assert [p.passage_id for p in passages] == [f"{document.document_id}#{n}" for n in range(len(passages))]
    assert all(
        (p.document_id, p.title, p.path) == (document.document_id, document.title, "path/of/file") for p in passages
    )
    for passage in passages:
        assert data[passage.start_byte : passage.end_byte].decode() == passage.text
        (tokens,) = count_tokens([passage.text])
        assert tokens <= window or len(passage.text) == 1
        assert len(passage.text) <= LONGEST_PASSAGE

    ranges = [(p.start_byte, p.end_byte) for p in passages]
    in_sections = "".join(document.text[section.start : section.end] for section in document.sections)
    headings = len("".join(document.text.split())) - len("".join(in_sections.split()))
    assert len("".join(outside_of(data, ranges).replace("\ufeff", "").split())) <= headings

    places = [0, *accumulate(len(character.encode()) for character in document.text)]
    for section in document.sections:
        first = places[section.start]
        body = document.text[section.start : section.end]
        own = [p for p in passages if first <= p.start_byte < places[section.end]]
        assert {p.section for p in own} == {section.heading}
        rest = outside_of(body.encode(), [(p.start_byte - first, p.end_byte - first) for p in own])
        assert rest.replace("\ufeff", "").strip() == ""
        (header,) = count_tokens([f"{document.title}\n{section.heading}"])
        budget = window - header if header <= window // 3 else window
        spans = sentences(body)
        for span, tokens in zip(spans, count_tokens([body[s.start : s.end] for s in spans]), strict=True):
            if tokens <= budget and span.end - span.start <= LONGEST_PASSAGE:  # a whole sentence in one passage
                start, end = (places[section.start + place] for place in span)
                holder = own[bisect_right(own, start, key=lambda p: p.start_byte) - 1]
                assert holder.start_byte <= start < end <= holder.end_byte, body[span.start : span.end]
    return passages


@settings(derandomize=True, database=None, deadline=None, max_examples=120)
@given(DOCUMENTS, st.sampled_from([1, 5, 40, 254, 512]), st.sampled_from([words, characters]))
@example("One two. Three four. Five six.", 10, characters)
@example("\ufeff\ufeffa", 5, words)
@example("ab? " * 30, 40, characters)  # the spaces between make what fits by its parts too long as a whole
def test_every_character_of_a_document_lies_in_exactly_one_fitting_passage(
    content: str, max_tokens: int, count_tokens: CountTokens
) -> None:
    for document in documents(content):
        assert check(document, max_tokens, count_tokens)


def paper(content: str) -> Document:
    (document, _) = documents(content)
    return document


def test_sentences_are_packed_as_long_as_they_fit() -> None:
    passages = check(paper("x.\n\n" + "One two three. " * 5), 8, words)
    assert [p.text for p in passages] == [
        "x.\n\nOne two three. One two three.",
        "One two three. One two three.",
        "One two three.",
    ]


def test_a_passage_ends_where_its_section_ends() -> None:
    content = "# T\nOne.\n## A\nTwo.\n### B\nThree.\n"
    (document,) = [d for d in documents(content) if d.title == "T"]
    assert [(p.section, p.text) for p in check(document, 256, words)] == [
        ("", "One."),
        ("A", "Two."),
        ("A > B", "Three."),
    ]


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\r\n", "\u3000"])
def test_a_sentence_that_is_too_long_is_divided_between_words(space: str) -> None:
    numbers = [f"0.{number}" for number in range(1000, 2000)]
    passages = check(paper(space.join(numbers)), 100, words)
    assert len(passages) > 10
    assert [word for p in passages for word in p.text.split()] == numbers


def test_text_without_spaces_is_divided_anywhere() -> None:
    passages = check(paper("论" * 1000), 100, characters)
    assert "".join(p.text for p in passages) == "论" * 1000
    assert max(len(p.text) for p in passages) <= 100


def test_title_and_section_have_room_in_the_window() -> None:
    content = "# A title of six words here\n## A section of words\n" + "One two three four five. " * 200
    (document,) = [d for d in documents(content) if d.title.startswith("A title")]
    for passage in check(document, 60, words):
        assert words([embedding_text(passage)])[0] <= 60


def test_a_title_that_would_take_more_than_a_third_of_the_window_gets_no_room() -> None:
    content = f"# {'long ' * 50}\n" + "One two three four five. " * 200
    (document,) = [d for d in documents(content) if d.title.startswith("long")]
    passages = check(document, 60, words)
    assert words([passages[0].text]) == [60]


def test_no_passage_is_longer_than_a_reader_wants_however_long_the_window() -> None:
    passages = check(paper("One two three four five. " * 1000), 100_000, words)
    assert max(words([p.text for p in passages])) <= MAX_PASSAGE_TOKENS


@pytest.mark.model
def test_with_the_real_tokenizer_nothing_is_lost_and_nothing_too_long() -> None:
    encoder = open_encoder("all-MiniLM-L6-v2")

    @settings(derandomize=True, database=None, deadline=None, max_examples=40)
    @given(DOCUMENTS)
    def holds(content: str) -> None:
        for document in documents(content):
            for passage in check(document, encoder.max_tokens, encoder.count_tokens):
                header, whole = encoder.count_tokens([f"{passage.title}\n{passage.section}", embedding_text(passage)])
                if header <= encoder.max_tokens // 3:
                    assert whole <= encoder.max_tokens

    holds()


@pytest.mark.parametrize("unit", ["x", "e\u0315\u0300", " \u200b", "x" + " " * 5000])
def test_no_passage_is_long_in_characters_however_few_its_tokens(unit: str) -> None:
    content = f"Before. {unit * (100_000 // len(unit))}. After."
    text = dataclasses.replace(paper("x"), text=content, sections=(Section(heading="", start=0, end=len(content)),))
    passages = check(text, 256, lambda texts: [1] * len(texts))
    assert "".join("".join(p.text for p in passages).split()) == "".join(content.split())


def test_a_tokenizer_never_gets_much_text_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "_COUNTED_AT_ONCE", 1000)
    monkeypatch.setattr(chunking, "LONGEST_PASSAGE", 500)
    sizes = []

    def counting(texts: Sequence[str]) -> list[int]:
        sizes.append(sum(map(len, texts)))
        return words(texts)

    text = "A sentence of six words here. " * 300 + "word " * 2000 + "ends. " + "Another one. " * 200
    document = dataclasses.replace(paper("x"), text=text, sections=(Section(heading="", start=0, end=len(text)),))
    passages = chunk(document, "a", max_tokens=60, count_tokens=counting)
    assert max(sizes) <= 1000
    assert len(passages) < 120
    shown = " ".join(passage.text for passage in passages)
    assert shown.split() == text.split()
    assert max(words([passage.text for passage in passages])) <= 60
