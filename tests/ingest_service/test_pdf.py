import io

import pytest

from ingest_service.chunking import chunk
from ingest_service.readers import pdf
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import FileError
from tests.ingest_service.pdfs import Paper, bomb, of_objects, plain

LEFT, RIGHT, MIDDLE = 50, 310, 70
LIMIT = 1 << 24

COLUMN = [
    "The first line of a column has these words",
    "the second goes on with a few more of them",
    "and the third one ends the sentence there.",
]


def read(data: bytes) -> Document | FileError:
    (found,) = pdf.read("dir/a.pdf", io.BytesIO(data), LIMIT)
    return found


def document(data: bytes) -> Document:
    found = read(data)
    assert isinstance(found, Document), found
    return found


def sections(found: Document) -> list[tuple[str, str]]:
    return [(section.heading, found.text[section.start : section.end]) for section in found.sections]


def body(found: Document) -> str:
    return "\n\n".join(text for _, text in sections(found))


def one_column(lines: list[str]) -> Document:
    paper = Paper()
    paper.page()
    paper.lines(MIDDLE, 300, [*lines, "A last line of these ends the paragraph."])
    return document(paper.data())


def named(column: str) -> list[str]:
    return [f"{column}: {line}" if number == 0 else line for number, line in enumerate(COLUMN * 4)]


def test_two_columns_are_read_one_after_the_other_whatever_order_they_are_drawn_in() -> None:
    paper = Paper()
    paper.page()
    paper.line(120, 80, "A Title Across the Page", size=18)
    left, right = named("left"), named("right")
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        paper.line(RIGHT, 150 + 12 * number, other)
        paper.line(LEFT, 150 + 12 * number, one)
    found = document(paper.data())
    assert found.title == "A Title Across the Page"
    assert " ".join(body(found).split()) == " ".join([*left, *right])


def test_what_runs_across_both_columns_divides_them() -> None:
    paper = Paper()
    paper.page()
    across = "This line is wide and runs across both of the columns of the page, from the left edge to the right one."
    for place, column in ((LEFT, "upper left"), (RIGHT, "upper right")):
        paper.lines(place, 120, named(column))
    paper.line(LEFT, 300, across)
    for place, column in ((LEFT, "lower left"), (RIGHT, "lower right")):
        paper.lines(place, 350, named(column))
    text = body(document(paper.data()))
    order = [text.index(mark) for mark in ("upper left", "upper right", "This line is", "lower left", "lower right")]
    assert order == sorted(order)


def test_columns_of_a_table_are_not_read_as_columns_of_text() -> None:
    paper = Paper()
    paper.page()
    y = paper.lines(
        MIDDLE, 120, ["Some running text that stands above the table, as wide as the page of the paper."] * 4
    )
    for number in range(8):
        paper.line(MIDDLE, y + 12 * number, f"row {number}")
        paper.line(MIDDLE + 250, y + 12 * number, f"value {number}")
    text = " ".join(body(document(paper.data())).split())
    assert all(f"row {number} value {number}" in text for number in range(8))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["The words of this sentence are auto-", "matic."], "are automatic."),
        (["A state-of-the-art system; a state-of-the-", "art result."], "a state-of-the-art result."),
        (["This needs the data of COVID-", "19 patients."], "of COVID-19 patients."),
        (["A theorem by Karush-", "Kuhn and Tucker."], "by Karush-Kuhn and Tucker."),
        (["The signal and noise differ; the signal-", "noise ratio is low."], "the signal-noise ratio"),
        (["We learn representations; repre-", "sentations are good."], "; representations are"),
    ],
)
def test_words_divided_at_the_end_of_a_line_are_joined_and_real_hyphens_kept(lines: list[str], expected: str) -> None:
    assert expected in body(one_column(lines))


def test_addresses_broken_between_lines_are_whole_and_sentences_keep_their_space() -> None:
    text = body(
        one_column(["The code is at https://example.org/some/", "path/to/it as it is shown in Fig. 10.", "We show it."])
    )
    assert "https://example.org/some/path/to/it as it is shown in Fig. 10. We show it." in text


def test_running_heads_and_page_numbers_are_left_out_and_pages_are_known() -> None:
    paper = Paper()
    for number in range(1, 5):
        paper.page()
        paper.line(MIDDLE, 40, f"Journal of Tests, Vol. {number}")
        paper.lines(MIDDLE, 300, [f"Page {number} says something in a sentence.", f"It is number {number}."])
        paper.line(290, 810, str(number))
    found = document(paper.data())
    assert "Journal" not in found.text
    assert not any(line.strip().isdigit() for line in found.text.splitlines())
    assert [page.page for page in found.pages] == [1, 2, 3, 4]
    for page in found.pages:
        assert found.text[page.start :].startswith(f"Page {page.page} says")


def test_a_sentence_goes_on_over_the_page_and_the_page_begins_within_it() -> None:
    paper = Paper()
    for line in ("The sentence begins on the first page of", "the paper and ends on the second."):
        paper.page()
        paper.lines(MIDDLE, 300, [line])
    found = document(paper.data())
    assert body(found) == "The sentence begins on the first page of the paper and ends on the second."
    assert [(page.page, found.text[page.start :][:9]) for page in found.pages] == [(1, "The sente"), (2, "the paper")]


def test_a_sentence_goes_on_over_the_page_past_a_footnote() -> None:
    paper = Paper()
    paper.page()
    paper.lines(MIDDLE, 300, ["There is a first sentence of some length.", "The second begins on the first page of"])
    paper.line(MIDDLE, 600, "1 A footnote in small print", size=7)
    paper.page()
    paper.lines(MIDDLE, 300, ["the paper, goes on a line", "longer and ends on the second."])
    found = document(paper.data())
    assert "The second begins on the first page of the paper, goes on a line longer and ends" in body(found)
    assert [page.page for page in found.pages] == [1, 2, 1]
    passages = chunk(found, "a.pdf", max_tokens=256, count_tokens=lambda texts: [len(text.split()) for text in texts])
    assert [(passage.first_page, passage.last_page) for passage in passages] == [(1, 2)]


def article() -> Paper:
    long = "This is running text of the section, which goes on and on about what the paper found in its study."
    paper = Paper()
    paper.page()
    paper.line(MIDDLE, 80, "Two Things at Once", size=18, bold=True)
    paper.line(MIDDLE, 105, "Ada Lovelace1, Charles Babbage2 and Mary Somerville1,2", size=12, bold=True)
    paper.line(MIDDLE, 120, "1 University of Somewhere 2 Institute of Elsewhere")
    paper.line(MIDDLE, 135, "Published: 3 May 2021, https://doi.org/10.1234/abc.5678")
    y = 160.0
    for heading, size in (("Summary", 14), ("Methods", 14), ("Data", 12), ("Results", 14)):
        paper.line(MIDDLE, y, heading, size=size, bold=True)
        y = paper.lines(MIDDLE, y + 20, [long, f"The {heading} end here."]) + 20
    paper.line(MIDDLE, y, "References", size=14, bold=True)
    y = paper.lines(MIDDLE, y + 20, ["Author, A. (1999). A cited work, which nobody shall quote."]) + 20
    paper.line(MIDDLE, y, "Appendix", size=14, bold=True)
    paper.lines(MIDDLE, y + 20, [long])
    return paper


def test_headings_are_told_by_their_type_and_references_are_no_text() -> None:
    found = document(article().data())
    headings = ["", "Summary", "Methods", "Methods > Data", "Results", "Appendix"]
    assert [heading for heading, _ in sections(found)] == headings
    assert "nobody shall quote" in found.text
    assert "nobody shall quote" not in body(found)
    assert body(found).count("The Data end here.") == 1


def test_references_without_a_heading_are_no_text_either() -> None:
    paper = article()
    paper.page()
    paper.lines(MIDDLE, 100, ["The paper ends with a paragraph of its text here, as it was found in (Author, 1999)."])
    for number in range(4):
        entry = [f"Author, A., & Writer, B. (199{number}). A work that is cited and never quoted."]
        paper.lines(MIDDLE, 150 + 30 * number, entry)
    found = document(paper.data())
    assert found.text.count("never quoted") == 4
    assert "never quoted" not in body(found)
    assert body(found).endswith("as it was found in (Author, 1999).")


def test_title_authors_year_and_doi_are_read_from_the_first_page() -> None:
    found = document(article().data())
    assert found.title == "Two Things at Once"
    assert found.bibliography.authors == ("Ada Lovelace", "Charles Babbage", "Mary Somerville")
    assert (found.bibliography.year, found.bibliography.doi) == (2021, "10.1234/abc.5678")


def test_metadata_goes_before_the_first_page_unless_it_says_nothing() -> None:
    paper = article()
    paper.pdf.set_title("Another Title")
    paper.pdf.set_author("Grace Hopper and Alan Turing")
    paper.pdf.set_subject("Journal of Tests 7 (2021). doi:10.9999/xyz")
    found = document(paper.data())
    assert (found.title, found.bibliography.authors) == ("Another Title", ("Grace Hopper", "Alan Turing"))
    paper = article()
    paper.pdf.set_title("Microsoft Word - draft.docx")
    assert document(paper.data()).title == "Two Things at Once"


def test_a_paper_that_says_nothing_of_itself_is_named_by_its_file() -> None:
    found = document(plain("Just one line of text."))
    assert (found.title, found.bibliography.year, found.bibliography.authors) == ("a", 0, ())
    assert found.text == "Just one line of text."


def test_what_stands_in_the_margin_comes_last() -> None:
    paper = Paper()
    paper.page()
    wide = "A wide line of the running text, which stands to the right of a margin on its page."
    for number in range(12):
        paper.line(170, 150 + 12 * number, wide)
        if number % 3 == 0:
            paper.line(40, 150 + 12 * number, f"margin {number}")
    text = body(document(paper.data()))
    assert text.index("margin 0") > text.rindex("on its page.")


def test_an_imprint_in_the_margin_belongs_to_no_section() -> None:
    paper = Paper()
    paper.page()
    wide = "A wide line of the running text, which stands to the right of a margin on its page."
    imprint = ["DOI: 10.21105/jose.00021", "Submitted: 01 July 2018", "License", "Authors retain copyright."]
    for number in range(12):
        paper.line(170, 150 + 12 * number, wide)
        if number % 3 == 0:
            paper.line(40, 150 + 12 * number, imprint[number // 3])
    found = document(paper.data())
    assert all(line in found.text for line in imprint)
    assert not any(line in body(found) for line in imprint)
    assert body(found).count("on its page.") == 12


def test_code_and_rows_of_tables_stay_lines() -> None:
    paper = Paper()
    paper.page()
    y = paper.lines(MIDDLE, 200, ["This is a paragraph of running text, whose lines", "are joined as they always are."])
    code = ["library(dplyr)", "x <- read(file)", "print(well-", "known)"]
    for number, line in enumerate(code):
        paper.line(MIDDLE, y + 30 + 12 * number, line, font="Courier")
    table = [("year", "papers", "authors"), ("2018", "17", "42"), ("2019", "23", "61")]
    for number, row in enumerate(table):
        for place, cell in enumerate(row):
            paper.line(MIDDLE + 80 * place, y + 120 + 12 * number, cell)
    text = document(paper.data()).text
    assert "running text, whose lines are joined" in text
    assert "\n".join(code) in text
    assert "\n".join(map(" ".join, table)) in text


def test_a_line_of_text_that_names_functions_is_no_code() -> None:
    paper = Paper()
    paper.page()
    paper.lines(MIDDLE, 200, ["This is a paragraph of running text, which can be run by calling one of the"])
    paper.line(MIDDLE, 212, "ram(), lda(), mtbf()", size=8, font="Courier")
    paper.line(MIDDLE + 99, 212, "functions.")
    assert document(paper.data()).text.endswith("by calling one of the ram(), lda(), mtbf() functions.")


def test_letters_of_formulas_that_unicode_has_beyond_its_first_plane_are_read() -> None:
    names = b"/CIDInit /ProcSet findresource begin 1 begincmap 1 beginbfchar <42> <D835DC35> endbfchar endcmap end"
    content = b"BT /F1 10 Tf 72 700 Td (The values of B and C.) Tj ET"
    data = of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(names), names),
    )
    assert document(data).text == "The values of \U0001d435 and C."


def test_ligatures_become_letters_and_other_characters_stay_as_they_are() -> None:
    paper = Paper()
    paper.page()
    paper.line(MIDDLE, 300, "x² ½ naïve")
    assert document(paper.data()).text == "x² ½ naïve"
    assert "ﬁnd eﬃcient ﬂow".translate(pdf_ligatures()) == "find efficient flow"


def pdf_ligatures() -> dict[int, str]:
    from ingest_service.readers import pdf_lines

    return pdf_lines._LIGATURES


def test_the_same_file_gives_the_same_text() -> None:
    data = article().data()
    assert document(data) == document(data)


def test_a_page_without_text_is_reported_as_a_scan() -> None:
    paper = Paper()
    paper.page()
    found = read(paper.data())
    assert isinstance(found, FileError)
    assert (found.path, found.reason) == ("dir/a.pdf", "NO_TEXT")
    assert "scan" in found.message


def test_a_file_that_needs_a_password_is_reported() -> None:
    paper = article()
    paper.pdf.set_encryption(owner_password="owner", user_password="user")
    found = read(paper.data())
    assert isinstance(found, FileError) and found.reason == "ENCRYPTED"


@pytest.mark.parametrize("data", [b"", b"no pdf", b"%PDF-1.7\n", plain("x")[:100], b"%PDF-1.4\n" + b"<<" * 100_000])
def test_what_is_no_pdf_is_reported(data: bytes) -> None:
    found = read(data)
    assert isinstance(found, FileError) and found.reason == "MALFORMED"


def test_a_page_tree_that_leads_in_a_circle_comes_to_an_end() -> None:
    found = read(of_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000>>"))
    assert isinstance(found, FileError)
    assert found.reason in ("NO_TEXT", "MALFORMED")


def test_a_file_over_the_limit_is_an_error() -> None:
    (found,) = pdf.read("a.pdf", io.BytesIO(plain("x")), 100)
    assert isinstance(found, FileError) and found.reason == "TOO_LARGE"


def test_text_over_the_limit_is_an_error() -> None:
    data = plain(*["aaaaaaaa " * 8] * 100)
    (found,) = pdf.read("a.pdf", io.BytesIO(data), len(data))
    assert isinstance(found, Document)
    data = bomb(1)
    (found,) = pdf.read("a.pdf", io.BytesIO(data), len(data))
    assert isinstance(found, FileError) and found.reason == "TOO_LARGE"
