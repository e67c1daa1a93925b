"""Year, authors and DOI, as BEIR lines and front matter say them."""

import json
from typing import Any

import pytest

from ingest_service.readers.bibliography import UNKNOWN, Bibliography, bibliography
from tests.ingest_service.ingest_harness import Service, write
from tests.ingest_service.test_readers import document, errors, read, sections

KNOWN = Bibliography(year=2014, authors=("Diederik P. Kingma", "Jimmy Ba"), doi="10.1000/182")


@pytest.mark.parametrize(
    ("value", "year"),
    [
        (2014, 2014), (2014.0, 2014), ("2014", 2014), ("2014-12-22", 2014), ("22 Dec. 2014", 2014),
        ("12/22/2014", 2014),
        ("20141222", 2014), ("2014-2015", 2014), (" (2014) ", 2014), (1000, 1000), (9999, 9999), (20141222, 2014),
        (0, 0), (999, 0), (10_000, 0), (-5, 0), (2014.5, 0), (float("nan"), 0), (float("inf"), 0), (1e308, 0),
        (True, 0), (None, 0), ("", 0), ("in press", 0), ("0014", 0), ("201", 0), ("20145", 0), ("٢٠١٤", 0),
        ([2014], 0), ({}, 0),
        ("2014\ud800", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["year", "date", "publish_time", "Year"])
def test_year(name: str, value: Any, year: int) -> None:
    assert bibliography({name: value}) == Bibliography(year=year)


@pytest.mark.parametrize(
    ("value", "authors"),
    [
        (["Diederik P. Kingma", " Jimmy\n Ba "], KNOWN.authors),
        ("Diederik P. Kingma; Jimmy Ba", KNOWN.authors),
        ("Diederik P. Kingma and Jimmy Ba", KNOWN.authors),
        ("Kingma, D., and Ba, J.", ("Kingma, D.", "Ba, J.")),
        ("Kingma, Diederik P.; Ba, Jimmy;", ("Kingma, Diederik P.", "Ba, Jimmy")),
        ("Alexandra Sandstone", ("Alexandra Sandstone",)),
        ([{"name": "Diederik P. Kingma", "orcid": "0"}, {"given": "Jimmy", "family": "Ba"}], KNOWN.authors),
        ([{"first": "Diederik P.", "last": "Kingma"}, "Jimmy Ba", {}, "", None, 7, "\ud800"], KNOWN.authors),
        ("", ()), ([], ()), (None, ()), (7, ()), ({"a": 1}, ()), ("\ud800", ()), ([["nested"]], ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["authors", "author", "Authors"])
def test_authors(name: str, value: Any, authors: tuple[str, ...]) -> None:
    assert bibliography({name: value}) == Bibliography(authors=authors)


@pytest.mark.parametrize(
    ("value", "doi"),
    [
        ("10.1000/182", "10.1000/182"),
        (" https://doi.org/10.1000/182", "10.1000/182"),
        ("http://dx.doi.org/10.1000/182", "10.1000/182"),
        ("doi: 10.1000/182", "10.1000/182"),
        ("DOI:10.1371/journal.pone.0007211", "10.1371/journal.pone.0007211"),
        ("", ""), ("none", ""), ("10.1000", ""), ("10.1000/1 82", ""), ("11.1000/182", ""), (10.1, ""), (None, ""),
        ("10.1000/\ud800", ""),
    ],
)  # fmt: skip
def test_doi(value: Any, doi: str) -> None:
    assert bibliography({"DOI": value}) == Bibliography(doi=doi)


def test_the_first_source_that_can_be_read_says_it() -> None:
    assert bibliography({"year": "soon", "date": "2014"}, {"year": 2015, "doi": "10.1000/182"}) == Bibliography(
        year=2014, doi="10.1000/182"
    )
    assert bibliography() == bibliography({}, {"title": "T"}) == UNKNOWN


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"year": 2014, "authors": ["Diederik P. Kingma", "Jimmy Ba"], "doi": "10.1000/182"}},
        {"publish_time": "2014-12-22", "authors": "Diederik P. Kingma; Jimmy Ba", "doi": "https://doi.org/10.1000/182"},
        {"metadata": {"year": 2014, "doi": ""}, "year": 1999, "author": list(KNOWN.authors), "doi": "10.1000/182"},
        {"metadata": ["not", "a", "mapping"], "year": 2014, "authors": list(KNOWN.authors), "doi": "10.1000/182"},
    ],
)
def test_a_beir_line(fields: dict[str, Any]) -> None:
    found = document("corpus.jsonl", json.dumps({"_id": "a", "title": "T", "text": "text"} | fields))
    assert found.bibliography == KNOWN


FRONT = (
    '---\ntitle: "Adam: a method"\nauthors:\n  - Diederik P. Kingma\n  - Jimmy Ba\ndate: 2014-12-22\ndoi: 10.1000/182\n'
)


@pytest.mark.parametrize("end", ["---\n", "...\n", "--- \t\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_front_matter(begin: str, end: str) -> None:
    for text in (
        f"{begin}{FRONT}{end}# Summary\n\nIt works.\n",
        f"{begin}{FRONT}{end}# Summary\n\nIt works.\n".replace("\n", "\r\n"),
    ):
        found = document("paper.md", text)
        assert (found.title, found.bibliography, found.text) == ("Adam: a method", KNOWN, text)
        assert sections(text) == [("Summary", "It works.")]


def test_without_a_title_of_its_own_front_matter_leaves_the_heading() -> None:
    text = "---\nyear: 2014\n---\n# Adam\n\nIt works.\n"
    found = document("paper.md", text)
    assert (found.title, found.bibliography.year) == ("Adam", 2014)
    assert sections(text) == [("", "It works.")]


def test_a_heading_that_repeats_the_title_is_no_section() -> None:
    assert sections("---\ntitle: Adam\n---\n# Adam\n\nIt works.\n# Proof\nq\n") == [("", "It works."), ("Proof", "q")]


@pytest.mark.parametrize(
    "text",
    [
        "---\nA paragraph between rules.\n---\nmore\n",
        "---\nyear: 2014\nand no end\n",
        "---\nyear: [2014\n---\nmore\n",
        "---\n- a\n- list\n---\nmore\n",
        "---\n---\nmore\n",
        "---\n{}: 1\n---\nmore\n".format("[" * 400),
        "text first\n---\nyear: 2014\n---\n",
        "----\nyear: 2014\n----\n",
        " ---\nyear: 2014\n ---\n",
    ],
)
def test_what_only_looks_like_front_matter_is_text(text: str) -> None:
    found = document("paper.md", text)
    assert (found.title, found.bibliography) == ("paper", UNKNOWN)
    assert sections(text) == [("", text.strip())]


@pytest.mark.parametrize(
    "fields",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nauthors: [*b, *b]",  # shared, never multiplied
        "title: !!python/object/apply:os.system [ls]\nyear: !!python/name:os.system ''",
        "authors: &a [*a]",
        "? [a, b]\n: c",
        'title: "\\ud800"\nauthors: ["\\ud800"]\ndoi: "10.1000/\\ud800"',
        "title: [a]\nyear: {a: 1}",
        "year: 2014-99-99x",
    ],
)
def test_strange_front_matter_does_no_harm(fields: str) -> None:
    found = document("paper.md", f"---\n{fields}\n---\ntext\n")
    assert (found.title, found.bibliography.authors, found.bibliography.doi) == ("paper", (), "")
    found.title.encode()


def test_front_matter_alone_is_no_text() -> None:
    assert errors(read("a.md", "---\nyear: 2014\n---\n\n")) == [("a.md", "NO_TEXT")]


def test_the_index_holds_what_is_known(service: Service, root: Any) -> None:
    line = {"_id": "b", "text": "Beir text.", "metadata": {"year": 1999, "authors": ["\ud800", "A. B."]}}
    papers = write(
        root / "papers",
        {"a.md": f"{FRONT}---\nIt works.\n", "b/corpus.jsonl": json.dumps(line) + "\n", "c.txt": "Plain text.\n"},
    )
    index = service.ingest(papers).result.index
    directory = service.paths.indexes / index.corpus_id
    lines = [json.loads(line) for line in (directory / "documents.jsonl").read_text().splitlines()]
    assert [(line["document_id"], line["year"], line["authors"], line["doi"]) for line in lines] == [
        ("a.md", 2014, list(KNOWN.authors), "10.1000/182"),
        ("b", 1999, ["A. B."], ""),
        ("c.txt", 0, [], ""),
    ]
    passages = (directory / "passages.jsonl").read_text()
    assert "Kingma" not in passages and "It works." in passages
