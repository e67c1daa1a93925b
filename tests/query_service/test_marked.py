"""Free text with [n] marks to sentences with citations."""

import random

import pytest

from query_service.evidence import Evidence, sentences_of
from query_service.generators.marked import MarkedText, Refused
from tests.query_service.query_harness import LIBRARY, records


def evidence() -> list[Evidence]:
    """All sentences of the library, a source for each passage."""
    passages = [record for group in records(LIBRARY) for record in group]
    return [
        Evidence(sentence=sentence, source=source, passage_score=1.0, coverage=1.0, cosine=None)
        for source, record in enumerate(passages, start=1)
        for sentence in sentences_of(record)
    ]


def read(*pieces: str) -> list[tuple[str, list[tuple[int, str]]]]:
    """The sentences of a text that comes in these pieces, and the source and beginning of what each cites."""
    text = MarkedText(evidence())
    found = [sentence for piece in pieces for sentence in text.add(piece)] + text.end()
    return [(s.text, [(c.source, c.quote.partition(" ")[0]) for c in s.citations]) for s in found]


DROPOUT = "Dropout removes units at random."
LARGER = "Use a larger layer."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{DROPOUT[:-1]} [1].", [(DROPOUT, [(1, "Dropout")])]),
        (f"{DROPOUT} [1]", [(DROPOUT, [(1, "Dropout")])]),
        (f"{DROPOUT}[1]", [(DROPOUT, [(1, "Dropout")])]),
        (f"{DROPOUT}[1] {LARGER}[2]", [(DROPOUT, [(1, "Dropout")]), (LARGER, [(2, "Use")])]),
        (f"{DROPOUT} [1] [3] {LARGER} [ 2 ]", [(DROPOUT, [(1, "Dropout"), (3, "Dropout")]), (LARGER, [(2, "Use")])]),
        (f"{DROPOUT} [1, 3]", [(DROPOUT, [(1, "Dropout"), (3, "Dropout")])]),
        (f"{DROPOUT} [1-3]", [(DROPOUT, [(1, "Dropout"), (2, "To"), (3, "Dropout")])]),
        (f"{DROPOUT} [9]", [(DROPOUT, [])]),
        (f"{DROPOUT} [0]", [(DROPOUT, [])]),
        (f"{DROPOUT} {LARGER} [2]", [(DROPOUT, []), (LARGER, [(2, "Use")])]),
        # It was marked, and shares nothing with what the passage says.
        ("Stars collapse. [1]", [("Stars collapse.", [])]),
        # Two sentences of one passage where one says only half of it.
        (
            "To apply dropout, use a larger layer. [2]",
            [("To apply dropout, use a larger layer.", [(2, "Use"), (2, "To")])],
        ),
        ("It is [sic] dropout. [1] See Fig. 3. [1]", [("It is [sic] dropout.", [(1, "Dropout")]), ("See Fig. 3.", [])]),
        ("Dropout of 0.5 [2] is usual. [note] Dropout", None),
        ("  \n ", []),
        ("", []),
        (f"{DROPOUT}\n\n{LARGER} [2]", [(DROPOUT, []), (LARGER, [(2, "Use")])]),
    ],
)
def test_a_mark_cites_what_the_passage_says_about_it(text, expected):
    whole = read(text)
    if expected is not None:
        assert whole == expected
    assert read(*text) == whole
    pieces, numbers = [], random.Random(text)
    rest = text
    while rest:
        size = numbers.randint(1, 9)
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(*pieces) == whole
    assert "[1]" not in " ".join(sentence for sentence, _ in whole)


def test_a_sentence_is_settled_when_the_next_one_begins():
    text = MarkedText(evidence())
    assert not text.add(f"{DROPOUT} [1] ")
    assert not text.add("[")
    assert not text.add("3]")
    assert not text.add(" ")
    [first] = text.add("U")
    assert (first.text, [citation.source for citation in first.citations]) == (DROPOUT, [1, 3])
    assert not text.add("se a larger layer.")
    assert [sentence.text for sentence in text.end()] == [LARGER]


@pytest.mark.parametrize(
    "text",
    [
        "The papers do not say.",
        "the papers do not say",
        "The papers do not say whether stars collapse. [1]",
        "The papers do not say. However, dropout removes units. [1]",
        "Unfortunately, the provided passages do not contain enough information.",
        "The passages do not answer the question.",
        "I don't know.",
    ],
)
def test_a_refusal_is_no_sentence_and_comes_before_any(text):
    for pieces in ([text], list(text)):
        written = MarkedText(evidence())
        with pytest.raises(Refused):
            assert not [sentence for piece in pieces for sentence in written.add(piece)]
            written.end()


@pytest.mark.parametrize(
    "text",
    [
        "Dropout removes units. The papers do not say why.",
        "The passages do not differ in this.",
    ],
)
def test_what_only_looks_like_a_refusal(text):
    assert read(text)
