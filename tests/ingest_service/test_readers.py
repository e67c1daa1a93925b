import io
import json
from typing import Any

import pytest

from ingest_service.readers import READERS
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import FileError

LIMIT = 1000


def read(path: str, data: bytes | str) -> list[Document | FileError]:
    """All that the reader of `path` makes of `data`."""
    suffix = path[path.rindex(".") :]
    raw = data.encode() if isinstance(data, str) else data
    return list(READERS[suffix](path, io.BytesIO(raw), LIMIT))


def document(path: str, data: bytes | str) -> Document:
    """The one document of a file."""
    (found,) = read(path, data)
    assert isinstance(found, Document), found
    return found


def errors(found: list[Document | FileError]) -> list[tuple[str, str]]:
    return [(error.path, error.reason) for error in found if isinstance(error, FileError)]


def sections(data: str) -> list[tuple[str, str]]:
    """Heading and text of each section of a Markdown file."""
    found = document("a.md", data)
    return [(section.heading, found.text[section.start : section.end].strip()) for section in found.sections]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("On Attention\n\nBody text.", "On Attention"),
        ("\n \n  On Attention  \r\nBody.", "On Attention"),
        ("\ufeffOn Attention\nBody.", "On Attention"),
        ("What is attention?\nBody.", "What is attention?"),
        ("This is a sentence.\nBody.", "paper"),
        ("这是一句话。\nBody.", "paper"),
        ("A heading of a list:\nBody.", "paper"),
        ("word " * 50 + "\nBody.", "paper"),
    ],
)
def test_the_first_line_of_a_text_is_its_title_if_it_looks_like_one(text: str, title: str) -> None:
    found = document("deep/in/paper.txt", text)
    assert found.title == title
    assert found.document_id == "deep/in/paper.txt"
    assert found.text == text
    assert [(s.heading, s.start, s.end) for s in found.sections] == [("", 0, len(text))]


@pytest.mark.parametrize("suffix", [".txt", ".md"])
@pytest.mark.parametrize("text", ["", " \r\n\t\n", "\ufeff", "\ufeff \n", "\u00a0\u3000\x0c\x1c\n"])
def test_a_file_without_text_is_an_error(suffix: str, text: str) -> None:
    assert errors(read("a" + suffix, text)) == [("a" + suffix, "NO_TEXT")]


@pytest.mark.parametrize("suffix", [".txt", ".md"])
def test_bytes_that_are_not_utf8_are_an_error_that_names_the_place(suffix: str) -> None:
    (error,) = read("a" + suffix, b"abc\xff\n")
    assert isinstance(error, FileError)
    assert (error.path, error.reason) == ("a" + suffix, "NOT_UTF8")
    assert "byte 3" in error.message
    assert errors(read("a" + suffix, "surrogate \ud800".encode("utf-8", "surrogatepass"))) == [
        ("a" + suffix, "NOT_UTF8")
    ]


@pytest.mark.parametrize("suffix", [".txt", ".md"])
def test_a_file_over_the_limit_is_an_error(suffix: str) -> None:
    assert len(document("a" + suffix, "x" * LIMIT).text) == LIMIT
    assert errors(read("a" + suffix, "x" * (LIMIT + 1))) == [("a" + suffix, "TOO_LARGE")]


def test_headings_divide_markdown_into_sections() -> None:
    text = "# Title\n\nintro\n\n## Method\nmethod\n\n### Data ##\ndata\n## Results\nresults\n# Appendix\nend\n"
    assert document("a.md", text).title == "Title"
    assert sections(text) == [
        ("", "intro"),
        ("Method", "method"),
        ("Method > Data", "data"),
        ("Results", "results"),
        ("Appendix", "end"),
    ]


def test_headings_that_skip_levels_nest_by_level() -> None:
    assert sections("# T\n#### deep\na\n## up\nb\n### in\nc\n### in too\nd\n") == [
        ("deep", "a"),
        ("up", "b"),
        ("up > in", "c"),
        ("up > in too", "d"),
    ]


def test_markdown_without_a_heading_is_one_section_named_by_its_file() -> None:
    found = document("notes/on-adam.md", "just text\n")
    assert found.title == "on-adam"
    assert sections("just text\n") == [("", "just text")]


@pytest.mark.parametrize("text", ["# T\r\n\r\n## S\r\ntext\r\n", "\ufeff# T\n## S\ntext", "# T #\n## S ##\ntext\n"])
def test_line_ends_byte_order_marks_and_closing_marks_are_no_part_of_headings(text: str) -> None:
    assert document("a.md", text).title == "T"
    assert sections(text) == [("S", "text")]


@pytest.mark.parametrize("heading", ["C#", "Issue #12", "A \\# B", "F# and C#"])
def test_a_mark_that_belongs_to_a_heading_stays_in_it(heading: str) -> None:
    assert document("a.md", f"# {heading}\ntext\n").title == heading


def test_a_line_of_spaces_is_read_in_no_time() -> None:
    spaces = " " * 1_000_000
    data = f"# The{spaces}title {spaces}##{spaces}\ntext\n".encode()
    (found,) = READERS[".md"]("a.md", io.BytesIO(data), len(data))
    assert isinstance(found, Document)
    assert found.title == f"The{spaces}title"


@pytest.mark.parametrize("line", ["#hashtag", "####### seven", "    # code", "\\# escaped", "a # b"])
def test_what_only_looks_like_a_heading_is_text(line: str) -> None:
    assert sections(f"{line}\ntext\n") == [("", f"{line}\ntext".strip())]


@pytest.mark.parametrize(
    "code",
    [
        "```\n# comment\n```",
        "~~~python\n# comment\n~~~",
        "```\n# a\n~~~\n# b\n```",
        "  ```\n# comment\n  ```",
        "````md\n```\n# comment\n```\n````",
        "```\n# comment\n``` not the end\n# comment\n`````",
    ],
)
def test_code_fences_hide_what_looks_like_headings(code: str) -> None:
    assert sections(f"# T\n{code}\n## S\ntext\n") == [("", code.strip()), ("S", "text")]


def test_inline_code_of_three_marks_opens_no_fence() -> None:
    assert sections("# T\n```inline``` code\n## S\ntext\n") == [("", "```inline``` code"), ("S", "text")]


def test_a_fence_without_an_end_reaches_to_the_end_of_the_file() -> None:
    assert sections("# T\n```\n# a\n# b\n") == [("", "```\n# a\n# b")]


def line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def test_every_line_of_a_beir_file_is_a_document() -> None:
    data = line(_id="a", title="A title", text="text of a") + "\r\n" + line(_id=7, text="text of seven", metadata={})
    found = read("corpus.jsonl", data)
    assert [(d.document_id, d.title, d.text) for d in found if isinstance(d, Document)] == [
        ("a", "A title", "text of a"),
        ("7", "", "text of seven"),
    ]
    assert errors(found) == []


def test_the_last_line_of_a_beir_file_needs_no_end_and_the_first_may_have_a_byte_order_mark() -> None:
    found = read("corpus.jsonl", "\ufeff" + line(_id="a", text="x") + line(_id="b", text="y").rstrip())
    assert [d.document_id for d in found if isinstance(d, Document)] == ["a", "b"]


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "\u3000"])
def test_a_line_without_text_is_cited_by_its_title(text: str) -> None:
    assert document("corpus.jsonl", line(_id="a", title="The title", text=text)).text == "The title"
    assert errors(read("corpus.jsonl", line(_id="a", title=" ", text=text))) == [("corpus.jsonl:1", "NO_TEXT")]
    assert errors(read("corpus.jsonl", line(_id="a", title=None, text=text))) == [("corpus.jsonl:1", "NO_TEXT")]


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b'{"_id": "a", "text": "torn',
        b"[1, 2]",
        b'"text"',
        b"null",
        b"[" * 500,
        b'{"text": "no id"}',
        b'{"_id": "", "text": "x"}',
        b'{"_id": "  ", "text": "x"}',
        b'{"_id": true, "text": "x"}',
        b'{"_id": 1.5, "text": "x"}',
        b'{"_id": null, "text": "x"}',
        b'{"_id": "a"}',
        b'{"_id": "a", "text": 5}',
        b'{"_id": "a", "text": null}',
        b'{"_id": "a", "title": 5, "text": "x"}',
        b'{"_id": "a", "text": "\xff"}',
        b'{"_id": "a", "text": "half \\ud83d of it"}',
        b'{"_id": "\\ude00", "text": "x"}',
        b'{"_id": "a", "title": "\\udc00", "text": "x"}',
        b'{"_id": "a", "text": "\xed\xa0\x80"}',
        b'{"_id": "\\ud83d", "title": "\\ude00", "text": "x"}',
    ],
)
def test_a_bad_line_is_an_error_by_its_number_and_the_others_go_on(bad: bytes) -> None:
    good = line(_id="good", text="x").encode()
    found = read("corpus.jsonl", good + b"\n" + bad + b"\n" + good)
    assert errors(found) == [("corpus.jsonl:3", "BAD_LINE")]
    assert [d.document_id for d in found if isinstance(d, Document)] == ["good", "good"]


def test_a_line_over_the_limit_is_an_error_and_the_others_go_on() -> None:
    huge = line(_id="huge", text="x" * 5 * LIMIT)
    full = line(_id="full", text="")
    full = line(_id="full", text="x" * (LIMIT - len(full)))
    over = line(_id="over", text="x" * (LIMIT + 1 - len(line(_id="over", text=""))))
    assert (len(full), len(over)) == (LIMIT, LIMIT + 1)
    found = read("corpus.jsonl", full + huge + line(_id="a", text="x") + over + huge.rstrip())
    assert [d.document_id for d in found if isinstance(d, Document)] == ["full", "a"]
    assert errors(found) == [
        ("corpus.jsonl:2", "TOO_LARGE"),
        ("corpus.jsonl:4", "TOO_LARGE"),
        ("corpus.jsonl:5", "TOO_LARGE"),
    ]


def test_a_surrogate_pair_in_a_line_is_one_character() -> None:
    assert document("corpus.jsonl", '{"_id": "a", "text": "\\ud83d\\ude00"}\n').text == "😀"
