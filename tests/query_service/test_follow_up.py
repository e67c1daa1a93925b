"""Follow-up questions, completed from the questions before."""

import pytest

from query_service.conversation.follow_up import resolve
from query_service.topics import topic

DEFINITION = "What is batch normalization?"
HOW = "How does dropout reduce overfitting?"
COMPARISON = "What is the difference between dropout and batch normalization?"


@pytest.mark.parametrize(
    ("question", "about"),
    [
        (DEFINITION, "batch normalization"),
        (HOW, "dropout"),
        ("batch normalization", "batch normalization"),
        ("Why is dropout effective?", "dropout"),
        ("What is the effect of dropout on overfitting?", "dropout"),
        ("What are the side effects of aspirin?", "aspirin"),
        ("How many units does dropout remove?", "dropout"),
        ("How fast is batch normalization?", "batch normalization"),
        ("How is batch size chosen?", "batch size"),
        ("Explain the attention mechanism in transformers", "attention mechanism"),
        ("How do I fine-tune BERT on small data?", "BERT"),
        ("How to apply dropout to recurrent layers?", "dropout"),
        ("Is transfer learning useful when labelled data are scarce?", "transfer learning"),
        ("What is the role of the ACE2 receptor in SARS-CoV-2 infection?", "ACE2 receptor"),
        ("Does hydroxychloroquine help against COVID-19?", "hydroxychloroquine"),
        ("What is a bag of words?", "bag of words"),
        ("Summarize the paper on residual networks", "residual networks"),
        ("Who invented word2vec?", "word2vec"),
        ("What does LSTM stand for?", "LSTM"),
        ("Which vaccines are used against malaria?", "vaccines"),
        ("Please explain what?", "what"),
        ("How does it work?", ""),
        ("Which methods are used?", ""),
        ("?", ""),
        ("", ""),
    ],
)
def test_the_topic_of_a_question(question: str, about: str) -> None:
    assert topic(question).text == about
    assert topic(question).pair is None


@pytest.mark.parametrize(
    ("question", "pair"),
    [
        (COMPARISON, ("dropout", "batch normalization")),
        ("Compare LSTM with GRU", ("LSTM", "GRU")),
        ("How do dropout and batch normalization compare?", ("dropout", "batch normalization")),
        ("Is BERT better than GPT-2 for classification?", ("BERT", "GPT-2")),
        ("LSTM vs. GRU", ("LSTM", "GRU")),
    ],
)
def test_the_sides_of_a_comparison(question: str, pair: tuple[str, str]) -> None:
    assert topic(question).pair == pair
    assert topic(question).text == " and ".join(pair)


@pytest.mark.parametrize(
    ("previous", "asked", "resolved"),
    [
        (DEFINITION, "and how fast is it?", "how fast is batch normalization?"),
        (DEFINITION, "How does it work?", "How does batch normalization work?"),
        (DEFINITION, "Who invented it?", "Who invented batch normalization?"),
        (DEFINITION, "How long does it take?", "How long does batch normalization take?"),
        (DEFINITION, "What are the drawbacks?", "What are the drawbacks of batch normalization?"),
        (DEFINITION, "And the results?", "the results of batch normalization?"),
        (DEFINITION, "What are its drawbacks?", "What are batch normalization drawbacks?"),
        (DEFINITION, "and what about its cost?", "batch normalization cost?"),
        (DEFINITION, "Does this method work for RNNs?", "Does batch normalization work for RNNs?"),
        (DEFINITION, "Is this layer slow?", "Is batch normalization layer slow?"),
        (DEFINITION, "how fast?", "how fast is batch normalization?"),
        (DEFINITION, "What about dropout?", "What is dropout?"),
        (DEFINITION, "And for small batches?", "What is batch normalization for small batches?"),
        (DEFINITION, "Tell me more.", "Explain batch normalization"),
        (DEFINITION, "Give me an example", "Give me an example of batch normalization?"),
        (HOW, "What about batch normalization?", "How does batch normalization reduce overfitting?"),
        (HOW, "Why?", "Why does dropout reduce overfitting?"),
        (HOW, "Is it used at test time?", "Is dropout used at test time?"),
        (HOW, "and in convolutional networks?", "How does dropout reduce overfitting in convolutional networks?"),
        (COMPARISON, "Which is faster?", "Which of dropout and batch normalization is faster?"),
        (COMPARISON, "Which one works better?", "Which of dropout and batch normalization works better?"),
        (COMPARISON, "How does the former work?", "How does dropout work?"),
        (COMPARISON, "And the latter?", "batch normalization?"),
        (COMPARISON, "Can they be combined?", "Can dropout and batch normalization be combined?"),
        (COMPARISON, "Can both be combined?", "Can dropout and batch normalization be combined?"),
    ],
)
def test_what_was_left_out_is_filled_in(previous: str, asked: str, resolved: str) -> None:
    completed = resolve(asked, ["What is transfer learning?", previous], 4000)
    assert (completed.text, completed.used) == (resolved, (previous,))


@pytest.mark.parametrize(
    "asked",
    [
        "What is transfer learning?",
        "How does dropout work and when should it be used?",
        "Is it possible to train without labels?",
        "Does it make sense to fine-tune BERT?",
        "What does this paper say?",
        "Which methods do the authors of this study use?",
        "Which human coronavirus showed clinical characteristics of its infection?",
        "What themes are common in the applications of phages?",
        "which iterative method is most rapidly convergent .",
        "MafA phosphorylation decreases its ubiquitination.",
        "It is not proven that chocolate reduces the risk of disease.",
        "How is the flow about a delta wing different from that on a tapered wing?",
        "dropout",
        "and",
        "???",
    ],
)
def test_a_question_that_stands_by_itself_is_left_alone(asked: str) -> None:
    resolved = resolve(asked, [DEFINITION], 4000)
    assert (resolved.text, resolved.used) == (asked, ())


def test_nothing_but_the_topic_gets_in() -> None:
    earlier = [f"What is the effect of topic{number} on results?" for number in range(50)]
    assert resolve("and how fast is it?", earlier, 4000).text == "how fast is topic49?"


def test_a_question_without_a_topic_is_passed_over() -> None:
    assert resolve("Why is it so?", [DEFINITION, "Is it possible?"], 4000).text == "Why is batch normalization so?"
    assert resolve("How does it work?", ["Is it possible?"], 4000).text == "How does it work?"
    assert resolve("How does it work?", [], 4000).text == "How does it work?"


def test_the_longest_question_stays_the_longest() -> None:
    assert resolve("How does it work?", [DEFINITION], 20).used == ()
    assert resolve("How does it work?", [f"What is {'x' * 500}?"], 4000).used == ()


@pytest.mark.parametrize("text", ["a " * 2000, "between " * 500, "it " * 1300, "what" + " x" * 1998, "(" * 4000])
def test_odd_questions_are_read_in_no_time(text: str) -> None:
    resolve(text, [text], 10_000)
    resolve(text, [COMPARISON], 10_000)
