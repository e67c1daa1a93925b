import dataclasses

import pytest

from query_service.evidence import Coverage, Evidence, Sentence, count_words, sentences_of
from tests.query_service.query_harness import records


def sentences(text: str) -> tuple[Sentence, ...]:
    [[record]] = records({"paper.md": text})
    return sentences_of(record)


def test_every_sentence_lies_where_it_says() -> None:
    text = "Caf\u00e9s open late. «\u00a0Bien s\u00fbr\u00a0!» 注意力机制很有用。然后结束。 - 🦘 hops."
    for sentence in sentences(text):
        assert text.encode()[sentence.start_byte : sentence.end_byte].decode() == sentence.quote
    assert "".join(sentence.quote for sentence in sentences(text)).replace(" ", "") in text.replace(" ", "").replace(
        "-", ""
    )


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("- First point here.", ["First point here."]),
        ("12) Rinse the beaker twice.", ["Rinse the beaker twice."]),
        ("* Wash.\n\n* Dry.", ["Wash.", "Dry."]),
        ("3.5 grams were added.", ["3.5 grams were added."]),
        ("-5 degrees is cold.", ["-5 degrees is cold."]),
    ],
)
def test_marks_in_front_are_not_part_of_a_sentence(text: str, quotes: list[str]) -> None:
    found = [sentence for paragraph in text.split("\n\n") for sentence in sentences(paragraph)]
    assert [sentence.quote for sentence in found] == quotes


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("Numbats eat termites every day.", True),
        ("“Numbats eat termites every day.”", True),
        ("p53 is a tumour suppressor.", True),
        ("mRNA is made from DNA.", True),
        ("注意力机制是一种方法。", True),
        ("التعلم الآلي فرع من الذكاء.", True),
        ("Numbats eat termites", False),
        ("Do numbats eat termites?", False),
        ("Authors: A. Numbat, B. Quoll", False),
        ("Numbats eat.", False),
        ("to be the most common species of 2009 in Asia.", False),
        ("the boundary layer grows along the plate .", True),
    ],
)
def test_statements(text: str, statement: bool) -> None:
    [sentence] = sentences(text)
    assert sentence.is_statement == statement


def test_words_are_counted_in_every_script() -> None:
    assert count_words("It's state-of-the-art, isn't it?") == 4
    assert count_words("注意力机制") == 5
    assert count_words("— … !") == 0


def test_coverage_is_a_share_weighted_by_rarity() -> None:
    coverage = Coverage(["common", "rare"], {"common": 0.0, "rare": 3.0}.__getitem__)
    assert coverage.of({"common"}) == 0.2
    assert coverage.of({"rare"}) == 0.8
    assert coverage.of({"common", "rare", "other"}) == 1
    assert coverage.of(()) == 0
    assert coverage.overlap({"rare", "other"}) == 1
    assert Coverage([], lambda term: 1.0).of({"anything"}) == 0


@pytest.mark.parametrize(
    ("cosine", "coverage", "passage", "strength"),
    [
        (0.8, 0.5, 0.4, 0.16 ** (1 / 3)),
        (1.0, 1.0, 1.0, 1.0),
        (0.0, 1.0, 1.0, 0.0),
        (-0.5, 1.0, 1.0, 0.0),
        (0.9, 0.0, 0.9, 0.0),
        (1.0000001, 1.0, 1.0, 1.0),
        (None, 0.5, 0.25, 0.125 ** (1 / 3)),
    ],
)
def test_strength_is_the_geometric_mean_of_bounded_values(
    cosine: float | None, coverage: float, passage: float, strength: float
) -> None:
    [sentence] = sentences("Numbats eat termites every day.")
    item = evidence(sentence, cosine=cosine, coverage=coverage, passage=passage)
    assert item.strength == pytest.approx(strength)


def test_relevance_rises_with_each_of_its_parts() -> None:
    [sentence] = sentences("Numbats eat termites every day.")
    least = evidence(sentence, cosine=0.5, coverage=0.5, passage=0.5)
    for part in ("cosine", "coverage", "coverage_before", "passage_score"):
        assert dataclasses.replace(least, **{part: 0.6}).relevance > least.relevance


def test_a_sentence_knows_the_one_before_it() -> None:
    first, second = sentences("Numbats eat termites. They do so at noon.")
    assert (first.before, second.before) == (None, first)


def evidence(sentence: Sentence, *, cosine: float | None, coverage: float, passage: float) -> Evidence:
    return Evidence(
        sentence=sentence,
        source=1,
        passage_score=passage,
        coverage=coverage,
        coverage_before=coverage,
        cosine=cosine,
    )
