import difflib
from collections.abc import Sequence

import pytest

from query_service.evidence import Coverage, sentences_of
from query_service.generators.base import Citation, DraftSentence
from query_service.question import Intent, Question
from query_service.stop import Stop
from query_service.verification.support import Context
from query_service.verification.verify import Issue, Verdict, verify, verify_text
from rag_papers.errors import DeadlineExceeded
from tests.query_service.query_harness import records

TEXT = (
    "Transfer learning is the use of knowledge from a source task on a target task. "
    "Transfer learning helps where labelled data are scarce. "
    "Negative transfer is the case in which knowledge from the source does harm. "
    "Transfer learning is transfer learning."
)
[[RECORD]] = records({"paper.txt": TEXT})
SENTENCES = sentences_of(RECORD)
QUOTED = [DraftSentence(text=each.text, citations=(Citation.of(each, 1),)) for each in SENTENCES]
ASKED = "What is transfer learning?"


CONTEXT = Context({1: SENTENCES}, lambda term: 1.0)


def judge(*draft: DraftSentence, text: str = ASKED, intent: Intent = Intent.DEFINITION) -> Verdict:
    question = Question(text=text, intent=intent)
    return verify(question, Coverage(question.terms, lambda term: 1.0), draft, CONTEXT)


def uncited(text: str) -> DraftSentence:
    return DraftSentence(text=text, citations=())


def test_quoted_definition_is_perfect() -> None:
    verdict = judge(QUOTED[0])
    assert (verdict.score, verdict.supported, verdict.issues) == (1.0, (True,), ())
    assert verdict.sentences[0].citations == QUOTED[0].citations
    assert verdict.sentences[0].support == 1


def test_empty_answer() -> None:
    verdict = judge()
    assert verdict.score <= 0.1
    assert verdict.issues == (Issue.TOO_SHORT,)


@pytest.mark.parametrize(
    "draft",
    [
        [uncited(ASKED)],
        [QUOTED[3]],  # says nothing that the question does not say
        [uncited("Transfer learning is the use of knowledge gained elsewhere.")],
        [uncited("The moon is made of green cheese and always was.")],
        [QUOTED[0], uncited("It was invented in 1764 by a committee of nine people.")],
        [*QUOTED[:3], uncited("Transfer learning needs exactly 4711 examples in every case.")],
    ],
)
def test_what_no_bytes_support_is_not_accepted(draft: Sequence[DraftSentence]) -> None:
    verdict = judge(*draft)
    assert verdict.score < 0.72
    assert Issue.UNSUPPORTED in verdict.issues
    assert not verdict.supported[-1]


def test_the_question_echoed_scores_as_low_as_nonsense() -> None:
    for echo in (ASKED, "Transfer learning.", "Transfer learning is transfer learning."):
        verdict = judge(uncited(echo))
        assert verdict.score <= 0.2
        assert Issue.ECHO in verdict.issues


@pytest.mark.parametrize(
    ("start", "end", "quote"),
    [(0, 10, SENTENCES[0].quote), (1, SENTENCES[0].end_byte + 1, SENTENCES[0].quote), (-5, 3, SENTENCES[0].quote),
     (0, SENTENCES[0].end_byte, "something else"), (10**6, 10**6 + 9, SENTENCES[0].quote), (0, 0, "")],
)  # fmt: skip
def test_a_citation_of_other_bytes_supports_nothing(start: int, end: int, quote: str) -> None:
    citation = Citation(source=1, record=RECORD, start_byte=start, end_byte=end, quote=quote)
    assert judge(DraftSentence(text=SENTENCES[0].text, citations=(citation,))).supported == (False,)


def test_a_changed_word_is_not_what_was_quoted() -> None:
    [citation] = QUOTED[0].citations
    changed = DraftSentence(text=SENTENCES[0].text.replace("knowledge", "magic"), citations=(citation,))
    assert judge(changed).supported == (False,)


def test_coverage_of_the_question_counts() -> None:
    about_half = judge(QUOTED[0], text="transfer learning volcano eruption", intent=Intent.UNKNOWN)
    assert about_half.score == pytest.approx(0.4 + 0.4 * 0.5 + 0.2)
    assert about_half.issues == ()
    off_topic = judge(QUOTED[2], text="transfer of volcano eruption magma money", intent=Intent.UNKNOWN)
    assert off_topic.issues == (Issue.OFF_TOPIC,)
    assert off_topic.score < 0.72


@pytest.mark.parametrize(
    ("draft", "intent", "issue"),
    [
        (QUOTED[1:2], Intent.SUMMARIZATION, Issue.TOO_SHORT),
        (QUOTED[:1] * 20, Intent.DEFINITION, Issue.TOO_LONG),
        (QUOTED[:1] * 2, Intent.DEFINITION, Issue.REPETITIVE),
        ([uncited("Transfer learning is the use of")], Intent.DEFINITION, Issue.INCOMPLETE),
        ([uncited("Is transfer learning the use of knowledge?")], Intent.DEFINITION, Issue.INCOMPLETE),
    ],
)
def test_faults_of_form(draft: Sequence[DraftSentence], intent: Intent, issue: Issue) -> None:
    verdict = judge(*draft, intent=intent)
    assert issue in verdict.issues
    assert verdict.score <= 0.9


def test_scores_stay_in_bounds() -> None:
    for draft in ([], QUOTED, QUOTED * 9, [uncited("")], [uncited("?")]):
        for intent in Intent:
            assert 0 <= judge(*draft, intent=intent).score <= 1


class Leaving(Stop):
    """Nobody waits any more once it was looked at often enough."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks == 0:
            self.client_left()
        super().check()


@pytest.mark.parametrize("looks", [1, 2, 100, 2000])
def test_a_verification_that_nobody_waits_for_ends(looks: int) -> None:
    stop = Leaving(looks)
    with pytest.raises(DeadlineExceeded):
        verify_text(Question(text=ASKED, intent=Intent.UNKNOWN), "No transfer helps. " * 99, [RECORD] * 9, stop=stop)
    assert stop.looks == 0


def test_sentences_without_an_end_are_compared_no_longer_than_sentences_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*texts: object, **options: object) -> None:
        raise AssertionError("would take minutes")

    [[endless]] = records({"table.txt": "number word " * 20_000})
    monkeypatch.setattr(difflib, "SequenceMatcher", compare)
    question = Question(text="number word", intent=Intent.UNKNOWN)
    [_], verdict = verify_text(question, "word number " * 20, [endless])
    assert verdict.supported == (False,)
