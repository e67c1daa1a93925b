import io

import pytest

from ingest_service.readers import html
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import FileError

PAGE = """<!DOCTYPE html><html><head><title>Site - A Title</title>
<meta name="citation_title" content="A  Title"><meta name="citation_author" content="Ada Lovelace">
<meta name="citation_author" content="Charles Babbage"><meta name="citation_publication_date" content="2019/05/03">
<meta name="citation_doi" content="10.1234/abc"><style>p { color: red }</style><script>var hidden = "hidden";</script>
</head><body><header>Site header</header><nav><a href="/">Home</a></nav>
<main><h1>A Title</h1><p>The <b>first</b> para&shy;graph&nbsp;here,<br>with H<sub>2</sub>O.</p>
<h2>Methods</h2><p>We did things.</p><ul><li>One item.</li><li>Another item.</li></ul>
<h3>Data</h3><div>Loose text <em>in a</em> block.<p>And a paragraph.</p>And a tail.</div>
<aside>Read also this</aside><pre>kept  as
it is</pre>
<h2>References</h2><ol><li>A cited work.</li></ol><h2>Appendix</h2><p>The end.</p></main>
<footer>Copyright</footer><script>var more = 1;</script></body></html>"""


def read(data: bytes | str) -> list[Document | FileError]:
    raw = data.encode() if isinstance(data, str) else data
    return list(html.read("dir/a.html", io.BytesIO(raw), 1 << 20))


def document(data: bytes | str) -> Document:
    (found,) = read(data)
    assert isinstance(found, Document), found
    return found


def sections(found: Document) -> list[tuple[str, str]]:
    return [(section.heading, found.text[section.start : section.end]) for section in found.sections]


def test_the_main_text_is_read_with_its_headings_as_sections() -> None:
    found = document(PAGE)
    assert sections(found) == [
        ("", "The first para\u00adgraph here, with H2O."),
        ("Methods", "We did things.\n\nOne item.\n\nAnother item."),
        ("Methods > Data", "Loose text in a block.\n\nAnd a paragraph.\n\nAnd a tail.\n\nkept  as\nit is"),
        ("Appendix", "The end."),
    ]
    for word in ("header", "Home", "hidden", "color", "Copyright", "Read also"):
        assert word not in found.text
    assert "A cited work." in found.text


def test_meta_tags_of_google_scholar_say_who_wrote_it_and_when() -> None:
    found = document(PAGE)
    assert found.title == "A Title"
    known = found.bibliography
    assert (known.authors, known.year, known.doi) == (("Ada Lovelace", "Charles Babbage"), 2019, "10.1234/abc")


def test_dublin_core_is_read_too() -> None:
    head = (
        '<meta name="DC.Title" content="T"><meta name="DC.Creator" content="Lovelace, Ada"><meta name="dc.date" '
        'content="1843-09"><meta name="DC.Identifier" content="doi:10.5555/x">'
    )
    found = document(f"<html><head>{head}</head><body><p>Text.</p></body></html>")
    assert found.title == "T"
    assert found.bibliography.authors == ("Lovelace, Ada",)
    assert (found.bibliography.year, found.bibliography.doi) == (1843, "10.5555/x")


def test_a_page_without_marks_is_read_whole_and_named_by_what_it_has() -> None:
    assert document("<title>The Title</title><p>One.<p>Two.").title == "The Title"
    assert document("<p>One.<p>Two.").text == "One.\n\nTwo."
    assert document("<p>One.").title == "a"
    assert document("just words").text == "just words"


def test_the_header_of_an_article_may_hold_its_title() -> None:
    found = document("<body><header>Site</header><article><header><h1>T</h1></header><p>Text.</p></article></body>")
    assert (found.title, found.text) == ("T", "T\n\nText.")


@pytest.mark.parametrize(
    "data",
    [
        "<p>naïve – “text”</p>".encode("utf-8-sig"),
        "<p>naïve – “text”</p>".encode("utf-16"),
        '<meta charset="windows-1252"><p>naïve – “text”</p>'.encode("cp1252"),
        '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><p>naïve – “text”</p>'.encode(
            "cp1252"
        ),
    ],
)
def test_the_encoding_is_what_the_mark_or_the_page_says(data: bytes) -> None:
    assert document(data).text == "naïve – “text”"


def test_an_encoding_that_nobody_says_is_noted_or_refused() -> None:
    german = "<p>" + "Die Größe der Wörter hängt von den Bäumen ab, über die wir früher gehört haben. " * 5 + "</p>"
    note, found = read(german.encode("cp1252"))
    assert isinstance(note, FileError) and note.reason == "ENCODING_GUESSED"
    assert isinstance(found, Document) and "Größe der Wörter hängt" in found.text
    (error,) = read(b"<p>\xff</p>")
    assert isinstance(error, FileError) and error.reason == "NOT_UTF8"


@pytest.mark.parametrize(
    "data", ["", "  ", "<html></html>", "<script>x = 1</script>", "<nav>Home</nav>", "<!-- no -->"]
)
def test_a_page_without_text_is_an_error(data: str) -> None:
    (error,) = read(data)
    assert isinstance(error, FileError) and error.reason == "NO_TEXT"


def test_deep_nesting_and_bytes_that_are_no_markup_do_no_harm() -> None:
    assert document("<div>" * 1000 + "deep" + "</div>" * 1000).text == "deep"
    (error,) = read("<p>Text.</p>" + "<div>" * 100_000 + "deep")
    assert isinstance(error, FileError) and error.reason == "MALFORMED"
    assert document("<p>a\x00b\x01c</p>").text


def test_entities_are_those_of_html_and_files_are_not_read() -> None:
    page = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]><p>&alpha; &lt;tag&gt; &x;</p>'
    text = document(page).text
    assert "α <tag>" in text
    assert "root:" not in text
