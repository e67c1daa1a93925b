"""Free text with [n] marks, to sentences with citations while it is being written."""

import random

import pytest

from query_service.evidence import sentences_of
from query_service.generators.growing import GrowingText
from tests.query_service.query_harness import LIBRARY, records

PASSAGES = [record for group in records(LIBRARY) for record in group]
SOURCES = {number: sentences_of(record) for number, record in enumerate(PASSAGES, start=1)}


def read(*pieces: str) -> list[tuple[str, list[int]]]:
    """The sentences of a text that comes in these pieces, and the sources that each cites."""
    text = GrowingText(SOURCES)
    found = [sentence for piece in pieces for sentence in text.add(piece)] + text.end()
    for sentence in found:
        for number in {citation.source for citation in sentence.citations}:
            quotes = [citation.quote for citation in sentence.citations if citation.source == number]
            assert quotes == [cited.quote for cited in SOURCES[number]]
    return [(s.text, list(dict.fromkeys(citation.source for citation in s.citations))) for s in found]


A = "Dropout removes units at random."
B = "Use a larger layer."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A[:-1]} [1].", [(A, [1])]),
        (f"{A} [1]", [(A, [1])]),
        (f"{A}[1]", [(A, [1])]),
        (f"{A}[1] {B}[2]", [(A, [1]), (B, [2])]),
        (f"{A} [1] [3] {B} [ 2 ]", [(A, [1, 3]), (B, [2])]),
        (f"{A} [1, 3]", [(A, [1, 3])]),
        (f"{A} [9]", [(A, [])]),
        (f"{A} [0][1]", [(A, [1])]),
        (f"{A} {B} [2]", [(A, []), (B, [2])]),
        ("It is [sic] dropout. [1] See Fig. 3. [1]", [("It is [sic] dropout.", [1]), ("See Fig. 3.", [1])]),
        ("It keeps 0.5 [2] of them. [Sic] It", [("It keeps 0.5 of them.", [2]), ("[Sic] It", [])]),
        (f"{A}\n\n{B} [2]\n", [(A, []), (B, [2])]),
        ("[1] [2]", []),
        ("  \n ", []),
        ("", []),
    ],
)
def test_what_is_settled_does_not_depend_on_the_pieces(text, expected):
    assert read(text) == expected
    assert read(*text) == expected
    numbers = random.Random(text)
    cuts = sorted(numbers.randint(0, len(text)) for _ in range(5))
    assert read(*(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))) == expected


def test_a_sentence_is_settled_when_the_next_one_begins():
    text = GrowingText(SOURCES)
    for piece in (f"{A} [1] ", "[", "3", "]", " "):
        assert not text.add(piece)
    [first] = text.add("U")
    assert first.text == A and {citation.source for citation in first.citations} == {1, 3}
    assert not text.add("se a larger layer.")
    assert [sentence.text for sentence in text.end()] == [B]


@pytest.mark.parametrize("unit", ["word ", "0.5 ", "[1] ", "e.g. ", "a. "])
@pytest.mark.timeout(60)
def test_a_long_text_without_sentences_takes_no_longer_than_its_length(unit):
    text = unit * (20_000 // len(unit))
    whole = read(text)
    assert read(*(text[start : start + 4] for start in range(0, len(text), 4))) == whole
