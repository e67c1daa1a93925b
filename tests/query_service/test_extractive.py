from collections.abc import Sequence

from query_service.evidence import Evidence, sentences_of
from query_service.generators.base import Assignment
from query_service.generators.extractive import ExtractiveGenerator
from query_service.question import Intent, Question, detect
from tests.query_service.query_harness import records


def answer(question: str, *texts: str, relevance: Sequence[float] = (), strict: bool = False) -> list[str]:
    """What is said about `question` from sentences of `relevance` (coverage; all equal by default), a passage each."""
    evidence = []
    for number, group in enumerate(records({f"{n}.txt": text for n, text in enumerate(texts)})):
        for sentence in sentences_of(group[0]):
            coverage = relevance[number] if relevance else 0.5
            evidence.append(
                Evidence(
                    sentence=sentence,
                    source=number + 1,
                    passage_score=0.5,
                    coverage=coverage,
                    coverage_before=coverage,
                    cosine=0.5,
                )
            )
    assignment = Assignment(
        question=Question(text=question, intent=detect(question)),
        evidence=evidence,
        strict=strict,
        temperature=0.0,
        seed=0,
    )
    return [sentence.text for sentence in ExtractiveGenerator().generate(assignment)]


def test_a_definition_comes_first() -> None:
    texts = (
        "Attention weights grow sharper during training.",
        "In most models attention layers are costly.",
        "Attention, or soft lookup, is a mechanism that mixes values by weight.",
        "Attention depends on keys, so the result is a mixture of values.",
    )
    assert answer("What is attention?", *texts)[0] == texts[2]
    assert answer("attention", *texts)[0] == texts[2]


def test_the_subject_is_the_one_asked_for() -> None:
    texts = (
        "Sentence-BERT is a modification of a model for sentence vectors.",
        "BERT is a language model made of stacked encoder layers.",
        "The successor of BERT is a smaller model with fewer parameters.",
    )
    assert answer("What is BERT?", *texts)[0] == texts[1]


def test_a_comparison_names_both_sides_if_any_sentence_does() -> None:
    texts = (
        "Cats sleep for sixteen hours a day.",
        "Dogs need long walks in the morning.",
        "Unlike dogs, cats retract their claws after use.",
    )
    assert answer("What is the difference between cats and dogs?", *texts) == [texts[2]]
    assert set(answer("What is the difference between cats and dogs?", *texts[:2])) == set(texts[:2])


def test_instructions_are_kept_in_the_order_of_their_passage() -> None:
    passage = (
        "To brew tea, heat fresh water. Tea comes from China and India. Add the leaves. Pour the tea through a sieve."
    )
    said = answer("How do I brew tea?", passage)
    assert said[0] == "To brew tea, heat fresh water."
    assert "Tea comes from China and India." not in said


def test_near_duplicates_are_said_once() -> None:
    texts = ("Numbats eat many termites each day.", "Numbats eat many termites on each day!", "Numbats live in logs.")
    said = answer("What do numbats do?", *texts)
    assert len([text for text in said if "termites" in text]) == 1


def test_only_what_comes_near_the_best_is_said() -> None:
    texts = ("Numbats eat termites at noon.", "Numbats sleep in hollow logs.", "Numbats have long striped tails.")
    assert answer("Where do numbats live?", *texts, relevance=(1.0, 0.1, 0.1)) == [texts[0]]


def test_a_repair_is_stricter() -> None:
    texts = ("Numbats eat termites at noon.", "Numbats sleep in hollow logs.")
    relevance = (1.0, 0.4)
    assert len(answer("Where do numbats live?", *texts, relevance=relevance)) == 2
    assert len(answer("Where do numbats live?", *texts, relevance=relevance, strict=True)) == 1


def test_titles_and_the_question_itself_are_no_answers() -> None:
    assert answer("What is a numbat?", "The numbat. What is a numbat?") == []
    assert answer("What is a numbat?", "Numbat, the.", "A numbat is a striped marsupial.") == [
        "A numbat is a striped marsupial."
    ]


def test_an_answer_has_a_bounded_number_of_sentences() -> None:
    words = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima".split()
    texts = [f"Numbats {a} {b} {a}{b} in {b}land." for a, b in zip(words, reversed(words), strict=True)]
    for intent, most in (("What are numbats?", 5), ("Why do numbats exist?", 5), ("Summarize numbats", 6)):
        assert 1 <= len(answer(intent, *texts)) <= most


def test_equal_assignments_give_equal_answers() -> None:
    texts = [f"Numbats number {n} eat termites of kind {n} at noon." for n in range(9)]
    assert len({tuple(answer("What do numbats eat?", *texts)) for _ in range(5)}) == 1
    assert {detect("What do numbats eat?")} == {Intent.UNKNOWN}
