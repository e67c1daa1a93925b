import pytest

from rag_papers.retrieval.sentences import sentences


def split(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["One sentence."],
        ["One.", "Two!", "Three?", "Four"],
        ["As Fig. 3 shows, it works.", "It does."],
        ["See Figs. 3 and 4, Eq. 2, Sec. 5 and Tab. 1.", "Good."],
        ["Vaswani et al. (2017) wrote it.", "Others read it."],
        ["Vaswani et al. Attention is cited."],
        ["The value is 3.14 and p < .05.", "It is small."],
        ["Version 1.2.3 is out.", "2.0 follows."],
        ["A. N. Gomez and J. Uszkoreit wrote it.", "They did."],
        ["Models, e.g. BERT, i.e. encoders, vs. decoders.", "All of them."],
        ["The U.S. Department agreed."],
        ["It stops at approx. ten percent.", "Then it grows."],
        ["Dr. Smith and Prof. Jones agree.", "Nobody else does."],
        ["It ends…", "and goes on.", "Really…", "Yes."],
        ["Wait...", "what?", "Nothing."],
        ["Is it?!", "It is."],
        ['He said "stop."', "She did."],
        ["(It is in parentheses.)", "This is not."],
        ["深度学习很好。", "真的！", "对吗？", "对"],
        ["他说：“好。”", "然后走了。"],
        ["هل هذا صحيح؟", "نعم."],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
        ["lower case after a period. does not begin one.", "Upper case does."],
        ["It was 2017.", "2018 came next."],
        ["the boundary layer was studied .", "the results agree .", "so it goes ."],
        ["C est fermé.", "«Oui.»", "É ouvert."],
        ["It was kept at 25 °C.", "After that it froze."],
        ["They had hepatitis C.", "We treated them.", "Group A.", "The rest waited."],
        ["He ate apples, etc.", "Then he slept."],
        ["Smith et al.", "This is another sentence."],
        ["On Jan. 5 it began.", "It ended in Dec.", "Nobody noticed."],
        ["Is No. 5 lost?", "The answer is no.", "We looked."],
        ["They took 10 mg b.i.d. for a week.", "All recovered."],
        ["Salmonella enterica subsp. enterica spreads.", "It is a bacterium."],
        ['He asked "Why?" and left.', "She stayed."],
        ["The gene is p53.", "mRNA was measured.", "p53 was not."],
        ["Overuse was the culprit.1-3", "Reducing it helped.4,5", "It did."],
        ["This was shown before. [12]", "It was refuted later. [13, 14][15]", "So it goes [16]."],
        ["Several spp. [3] , and more [4] .", "It is in GenBank (accession no. EU714029).", "So it is."],
        ["Emoji end here \N{ROCKET}.", "\N{ROCKET} begins here."],
    ],
    ids=lambda expected: expected[0],
)
def test_text_is_split_into(expected: list[str]) -> None:
    assert split(" ".join(expected)) == expected


def test_full_width_marks_need_no_space() -> None:
    assert split("深度学习很好。真的！对吗？对") == ["深度学习很好。", "真的！", "对吗？", "对"]


@pytest.mark.parametrize("gap", ["\n\n", "\n \t\n", "\r\n\r\n", "\n\n\n\n"])
def test_an_empty_line_ends_a_sentence(gap: str) -> None:
    assert split(f"A heading{gap}A text without a mark{gap}the end") == [
        "A heading",
        "A text without a mark",
        "the end",
    ]


def test_a_line_break_does_not() -> None:
    assert split("A sentence\nover two\r\nlines. Another.") == ["A sentence\nover two\r\nlines.", "Another."]


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "\ufeff", "\ufeff \n\n"])
def test_nothing_has_no_sentences(text: str) -> None:
    assert split(text) == []


def test_a_byte_order_mark_is_no_part_of_one() -> None:
    assert split("\ufeffOne. Two.") == ["One.", "Two."]


@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000 + "x",
        "." + ")" * 300_000 + "x",
        '."' * 100_000,
        "\n" + " " * 300_000 + "x",
        "\n \n" * 100_000,
        "a." * 100_000,
        "x" * 300_000,
        "a." + "[1]" * 100_000,
        "a. [" + "1" * 300_000,
        "a.1" + ",1" * 150_000 + " B",
    ],
    ids=[
        "dots",
        "brackets",
        "quotes",
        "spaces",
        "empty lines",
        "periods",
        "letters",
        "references",
        "a long reference",
        "numbers",
    ],
)
def test_hostile_text_takes_no_longer_than_its_length_allows(text: str) -> None:
    # Quadratic time would run into the test's time limit.
    assert "".join(split(text)) == "".join(text.split())
