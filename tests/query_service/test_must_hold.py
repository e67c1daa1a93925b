"""What verification must tell apart: the right answer, and the same with one thing changed."""

from collections.abc import Sequence

import pytest

from query_service.question import Intent, Question
from query_service.verification.clashes import Clash
from query_service.verification.support import Context
from query_service.verification.verify import Issue, Verdict, verify_text
from tests.query_service.query_harness import records

PAPERS = {
    "a.txt": "Mother-to-child transmission is the main cause of HIV-1 infection in children. In 2008, more than "
    "400,000 children were infected worldwide, mostly through MTCT. Zidovudine was approved by the FDA before "
    "lamivudine in 1987.",
    "b.txt": "Dropout with a rate of 0.5 reduces overfitting in large networks. BERT outperforms GPT on all five "
    "tasks. Transformers are faster than recurrent networks on long sequences. Training took 3.5 days on eight GPUs.",
    "c.txt": "The vaccine does not prevent infection in mice. Samples were heated to 37 °C for 5 minutes after "
    "washing. A dose of 20 mg lowered blood pressure by 12.5 % in 140 patients. No adverse events were seen without "
    "treatment.",
}
PASSAGES = [group[0] for group in records(PAPERS)]

RIGHT = {
    "How many children were infected in 2008?": [
        "In 2008, more than 400,000 children were infected worldwide, mostly through MTCT.",
        "In 2008, more than 400,000 children were infected worldwide, mostly through MTCT [1].",
        "In 2008, more than 400,000 children were infected worldwide, mostly through MTCT. [1]",
        "More than 400,000 children were infected worldwide in 2008.",
        "More than 400,000 children.",
    ],
    "What is the main cause of HIV-1 infection in children?": [
        "Mother-to-child transmission is the main cause of HIV-1 infection in children.",
        "The main cause of HIV-1 infection in children is mother-to-child transmission.",
    ],
    "Does dropout reduce overfitting?": [
        "Dropout reduces overfitting in large networks.",
        "Dropout with a rate of 0.5 reduces overfitting in large networks [2].",
    ],
    "Are transformers faster than recurrent networks?": [
        "Transformers are faster than recurrent networks on long sequences.",
        "Recurrent networks are slower than transformers on long sequences.",
    ],
    "Does the vaccine prevent infection in mice?": [
        "The vaccine does not prevent infection in mice.",
        "The vaccine doesn't prevent infection in mice.",
    ],
    "How were the samples heated?": [
        "Samples were heated to 37 °C for 5 minutes after washing.",
        "Samples were heated to 37 °C for five minutes after washing.",
        "After washing, samples were heated to 37 °C for 5 min.",
    ],
    "What did a dose of 20 mg do to blood pressure?": [
        "A dose of 20 mg lowered blood pressure by 12.5 percent in 140 patients.",
        "A dose of 20 milligrams lowered blood pressure by 12.5% in 140 patients [3].",
    ],
    "How long did training take?": ["Training took 3.5 days on 8 GPUs.", "Training took 3.5 days."],
}

WRONG = {
    ("How many children were infected in 2008?", Clash.QUANTITY): [
        "In 2009, more than 400,000 children were infected worldwide, mostly through MTCT.",
        "In 2008, more than 500,000 children were infected worldwide, mostly through MTCT.",
        "In 2008, more than 40,000 children were infected worldwide, mostly through MTCT.",
        "In 2008, more than 400 million children were infected worldwide, mostly through MTCT.",
        "More than 4,000 children were infected worldwide in 2008.",
    ],
    ("How were the samples heated?", Clash.QUANTITY): [
        "Samples were heated to 73 °C for 5 minutes after washing.",
        "Samples were heated to 37 °F for 5 minutes after washing.",
        "Samples were heated to 37 °C for 5 hours after washing.",
        "Samples were heated to 37 °C for 5 seconds after washing.",
        "Samples were heated to 37 °C for fifteen minutes after washing.",
    ],
    ("What did a dose of 20 mg do to blood pressure?", Clash.QUANTITY): [
        "A dose of 20 g lowered blood pressure by 12.5 % in 140 patients.",
        "A dose of 20 µg lowered blood pressure by 12.5 % in 140 patients.",
        "A dose of 20 mg lowered blood pressure by 12.5 mm in 140 patients.",
        "A dose of 20 mg lowered blood pressure by 125 % in 140 patients.",
        "A dose of 20 mg lowered blood pressure by 12.5 % in 14 patients.",
        "A dose of 140 mg lowered blood pressure by 12.5 % in 20 patients.",
    ],
    ("How long did training take?", Clash.QUANTITY): [
        "Training took 3.5 weeks on eight GPUs.",
        "Training took 35 days on eight GPUs.",
        "Training took 3.5 days on nine GPUs.",
    ],
    ("Which model is better, BERT or GPT?", Clash.NAME): [
        "BERT outperforms T5 on all five tasks.",
        "RoBERTa outperforms GPT on all five tasks.",
        "BERT outperforms GPT-3 on all five tasks.",
    ],
    ("When was zidovudine approved by the FDA?", Clash.NAME): [
        "Zidovudine was approved by the EMA before lamivudine in 1987.",
        "Zidovudine was approved by Pfizer before lamivudine in 1987.",
    ],
    ("When was zidovudine approved?", Clash.WORDING): [
        "Zidovudine was approved by the FDA after lamivudine in 1987.",
        "Abacavir was approved by the FDA before lamivudine in 1987.",
        "Zidovudine was approved by the FDA before aspirin in 1987.",
        "Lamivudine was approved by the FDA before zidovudine in 1987.",
        "Zidovudine was rejected by the FDA before lamivudine in 1987.",
    ],
    ("Which model is better?", Clash.WORDING): [
        "GPT outperforms BERT on all five tasks.",
        "BERT outperforms GPT on some tasks.",
        "BERT resembles GPT on all five tasks.",
    ],
    ("Does the vaccine prevent infection in mice?", Clash.NEGATION): [
        "The vaccine prevents infection in mice.",
        "The vaccine does prevent infection in mice.",
        "The vaccine can prevent infection in mice.",
    ],
    ("Does dropout reduce overfitting?", Clash.NEGATION): [
        "Dropout with a rate of 0.5 does not reduce overfitting in large networks.",
        "Dropout with a rate of 0.5 never reduces overfitting in large networks.",
        "Dropout with a rate of 0.5 fails to reduce overfitting in large networks.",
        "Dropout doesn't reduce overfitting in large networks.",
        "Dropout cannot reduce overfitting.",
    ],
    ("Does dropout lead to overfitting?", Clash.DIRECTION): [
        "Dropout with a rate of 0.5 increases overfitting in large networks.",
        "Dropout increases overfitting in large networks.",
    ],
    ("Are transformers faster than recurrent networks?", Clash.DIRECTION): [
        "Recurrent networks are faster than transformers on long sequences.",
        "Transformers are slower than recurrent networks on long sequences.",
    ],
    ("Does the vaccine work?", Clash.WORDING): [
        "The vaccine does not prevent infection in rats.",
        "The vaccine does not prevent transmission in mice.",
        "The vaccine does not cause infection in mice.",
    ],
}  # fmt: skip

CASES = [(question, answer) for question, answers in RIGHT.items() for answer in answers]
CHANGED = [(*case, answer) for case, answers in WRONG.items() for answer in answers]


def judge(question: str, answer: str) -> Verdict:
    return verify_text(Question(text=question, intent=Intent.UNKNOWN), answer, PASSAGES)[1]


@pytest.mark.parametrize(("question", "answer"), CASES)
def test_the_right_answer_is_accepted(question: str, answer: str) -> None:
    verdict = judge(question, answer)
    assert verdict.supported == (True,)
    assert verdict.score >= 0.72
    assert Issue.UNSUPPORTED not in verdict.issues
    [judged] = verdict.sentences
    for citation in judged.citations:
        at = slice(citation.start_byte - citation.record.start_byte, citation.end_byte - citation.record.start_byte)
        assert citation.record.text.encode()[at].decode() == citation.quote


@pytest.mark.parametrize(("question", "clash", "answer"), CHANGED)
def test_one_thing_changed_is_not_accepted_and_is_named(question: str, clash: Clash, answer: str) -> None:
    verdict = judge(question, answer)
    assert verdict.supported == (False,)
    assert verdict.score < 0.72
    assert clash in verdict.sentences[0].clashes
    assert {Issue.UNSUPPORTED, Issue.POSSIBLY_CONTRADICTED} <= set(verdict.issues)


@pytest.mark.parametrize(
    ("right", "answer"),
    [(0, "In 2008, more than 400,000 children were infected worldwide. The virus was found in nine camels."),
     (1, "Dropout reduces overfitting in large networks. It was invented in Paris by a committee of gardeners.")],
)  # fmt: skip
def test_one_fabricated_sentence_is_not_accepted(right: int, answer: str) -> None:
    verdict = judge(list(RIGHT)[2 * right], answer)
    assert verdict.supported == (True, False)
    assert verdict.score < 0.72


@pytest.mark.parametrize("question", RIGHT)
def test_the_question_echoed_back_is_not_accepted(question: str) -> None:
    for echo in (question, question.rstrip("?") + ".", f"{question} {question}"):
        verdict = judge(question, echo)
        assert not any(verdict.supported)
        assert verdict.score < 0.3
        assert Issue.ECHO in verdict.issues


@pytest.mark.parametrize("question", RIGHT)
@pytest.mark.parametrize(
    "fluent",
    [
        "The weather in the mountains was pleasant throughout the whole of the season.",
        "Deep learning has transformed many fields of science and industry in recent years.",
        "Further research is needed to confirm these promising and important findings.",
        "The French Revolution began with the storming of a prison.",
        "Patients should always consult a physician who knows their medical history.",
    ],
)
def test_a_fluent_unrelated_sentence_is_not_accepted(question: str, fluent: str) -> None:
    verdict = judge(question, fluent)
    assert verdict.supported == (False,)
    assert verdict.score < 0.3


@pytest.mark.parametrize(
    "text",
    [
        "The papers do not say.",
        "The papers do not say how many children were infected.",
        "The provided context does not contain information about this question.",
        "The context doesn't mention it.",
        "I do not know.",
        "I don't know the answer.",
        "There is not enough information in the passages to answer.",
        "This cannot be answered from the given passages.",
        "The answer is not stated in the papers.",
        "None of the passages; the sources do not provide an answer. [1]",
    ],
)
def test_saying_that_the_papers_do_not_say_is_an_abstention(text: str) -> None:
    verdict = judge("How many children were infected in 2008?", text)
    assert verdict.declines
    assert verdict.score == 0
    assert verdict.issues == ()


@pytest.mark.parametrize("answer", ["", "   ", "\n"])
def test_an_empty_answer(answer: str) -> None:
    verdict = judge("How many children were infected?", answer)
    assert verdict.score <= 0.1
    assert verdict.issues == (Issue.TOO_SHORT,)


@pytest.mark.parametrize(
    ("answer", "supported"),
    [
        ("BERT outperforms GPT on all five tasks [2].", True),
        ("BERT outperforms GPT on all five tasks [1].", False),
        ("BERT outperforms GPT on all five tasks [1, 2].", True),
        ("BERT outperforms GPT on all five tasks [1][2].", True),
        ("BERT outperforms GPT on all five tasks [9].", False),
        ("BERT outperforms GPT on all five tasks [0].", False),
        ("BERT outperforms GPT on all five tasks. [2]", True),
        ("BERT outperforms GPT on all five tasks.[2]", True),
    ],
)
def test_a_sentence_is_held_against_the_passages_that_it_cites(answer: str, supported: bool) -> None:
    verdict = judge("Which model outperforms GPT?", answer)
    assert verdict.supported == (supported,)
    if supported:
        assert {citation.source for citation in verdict.sentences[0].citations} == {2}


def test_two_sentences_together_support_one_that_joins_them() -> None:
    joined = "Samples were heated to 37 °C after washing, and a dose of 20 mg lowered blood pressure."
    verdict = judge("How were samples heated, and what lowered blood pressure?", joined)
    assert verdict.supported == (True,)
    assert len(verdict.sentences[0].citations) == 2


def test_an_entailment_model_decides_where_there_is_one() -> None:
    class Contradicting:
        def judge(self, pairs: Sequence[tuple[str, str]], /) -> list[tuple[float, float]]:
            assert all(text and claim for text, claim in pairs)
            return [(0.02, 0.95) for _ in pairs]

    question = Question(text="Does dropout reduce overfitting?", intent=Intent.UNKNOWN)
    _, verdict = verify_text(question, "Dropout reduces overfitting.", PASSAGES, entailment=Contradicting())
    assert verdict.supported == (False,)
    assert Issue.CONTRADICTED in verdict.issues


@pytest.mark.parametrize("text", ["a" * 100_000, "not " * 5000, "1 " * 5000, "a. " * 3000, "[1]" * 3000, "A-" * 5000])
@pytest.mark.timeout(60)
def test_absurd_answers_are_judged_in_bounded_time(text: str) -> None:
    assert 0 <= judge("What is a?", text).score <= 1


def test_a_context_without_sentences_supports_nothing() -> None:
    assert not Context({}, lambda term: 1.0).support("Dropout reduces overfitting.").supported
