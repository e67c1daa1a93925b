import io
import socket
from pathlib import Path

import pytest

from ingest_service.readers import jats
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import FileError

ARTICLE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD Journal Publishing DTD v3.0 20080202//EN" "journalpublishing3.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>
<article-id pub-id-type="pmid">123</article-id><article-id pub-id-type="doi">10.1234/abc</article-id>
<title-group><article-title>On <italic>E. coli</italic>
 growth</article-title></title-group>
<contrib-group><contrib contrib-type="author"><name><surname>Lovelace</surname><given-names>Ada</given-names></name>
<xref ref-type="aff" rid="a"><sup>1</sup></xref></contrib>
<contrib contrib-type="author"><collab>The Group</collab></contrib>
<contrib contrib-type="editor"><name><surname>No</surname><given-names>Author</given-names></name></contrib>
</contrib-group><pub-date pub-type="collection"><year>2014</year></pub-date>
<pub-date pub-type="epub"><day>1</day><year>2013</year></pub-date>
<abstract><sec><title>Aim</title><p>We aim.</p></sec></abstract><abstract abstract-type="summary"><title>Summary</title>
<p>In short.</p></abstract></article-meta></front>
<body><p>Before any section.</p><sec><label>1</label><title>Methods</title>
<p>We grew <italic>E. coli</italic>&nbsp;at 37&deg;C
<xref ref-type="bibr">[1]</xref>.<fig>
<label>Figure 1</label><caption><title>Growth.</title><p>The curve.</p></caption></fig>
After the figure.</p><sec><title>Data</title><p>All data.</p><list><list-item><p>One.</p></list-item></list>
<table-wrap><label>Table 1</label><caption><p>Counts.</p></caption><table><tr><td>77</td></tr></table>
<table-wrap-foot><p>A note.</p></table-wrap-foot></table-wrap></sec></sec></body>
<back><ack><p>Thanks.</p></ack><ref-list><title>References</title>
<ref><mixed-citation>A cited work.</mixed-citation></ref>
</ref-list></back></article>"""


def read(data: bytes | str) -> Document | FileError:
    raw = data.encode() if isinstance(data, str) else data
    (found,) = jats.read("dir/a.xml", io.BytesIO(raw), 1 << 24)
    return found


def document(data: bytes | str) -> Document:
    found = read(data)
    assert isinstance(found, Document), found
    return found


def test_sections_are_nested_and_captions_are_paragraphs_of_their_own() -> None:
    found = document(ARTICLE)
    sections = [(section.heading, found.text[section.start : section.end]) for section in found.sections]
    assert sections == [
        ("Abstract > Aim", "We aim."),
        ("Summary", "In short."),
        ("", "Before any section."),
        ("1 Methods", "We grew E. coli at 37°C [1].\n\nFigure 1 Growth. The curve.\n\nAfter the figure."),
        ("1 Methods > Data", "All data.\n\nOne.\n\nTable 1 Counts.\n\nA note."),
        ("Acknowledgements", "Thanks."),
    ]
    assert "A cited work" not in found.text
    assert "77" not in found.text


def test_title_authors_year_and_doi_are_those_of_the_article() -> None:
    found = document(ARTICLE)
    assert found.title == "On E. coli growth"
    known = found.bibliography
    assert (known.authors, known.year, known.doi) == (("Ada Lovelace", "The Group"), 2013, "10.1234/abc")


def test_an_article_may_stand_in_a_set_and_in_a_namespace() -> None:
    article = ARTICLE[ARTICLE.index("<article ") :].replace("&nbsp;", " ").replace("&deg;", "°")
    assert document(f"<pmc-articleset>{article}</pmc-articleset>").title == "On E. coli growth"
    namespaced = article.replace("<article ", '<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/" ', 1)
    assert document(namespaced) == document(article)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("<feed><entry>x</entry></feed>", "NOT_JATS"),
        ("<html><body><p>x</p></body></html>", "NOT_JATS"),
        ("<article><p>DocBook has such articles too.</p></article>", "NOT_JATS"),
        ("<article><body/></article>", "NO_TEXT"),
        ("", "MALFORMED"),
        ("no xml", "MALFORMED"),
        ("<article><body><p>torn", "MALFORMED"),
        (b"<article><body><p>\xff</p></body></article>", "MALFORMED"),
        ("<a>" * 10_000 + "</a>" * 10_000, "MALFORMED"),
    ],
)
def test_what_is_no_jats_is_reported(data: bytes | str, reason: str) -> None:
    found = read(data)
    assert isinstance(found, FileError)
    assert (found.path, found.reason) == ("dir/a.xml", reason)
    assert found.message and "\n" not in found.message


def entities(declarations: str, text: str) -> str:
    return f"<!DOCTYPE article [{declarations}]><article><body><p>Text {text}.</p></body></article>"


def test_entities_that_grow_are_not_expanded() -> None:
    laughs = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    )
    found = read(entities(laughs, "&j;"))
    assert isinstance(found, FileError) and found.reason == "MALFORMED"
    found = read(entities(f'<!ENTITY big "{"x" * 100_000}">', "&big;" * 1000))
    assert isinstance(found, FileError) and found.reason == "MALFORMED"


def test_no_file_and_no_address_is_read_for_an_entity_or_a_dtd(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    for declared in (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', f'<!ENTITY % x SYSTEM "{secret.as_uri()}"> %x;'):
        found = read(entities(declared, "&x;"))
        assert isinstance(found, FileError) and found.reason == "MALFORMED"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.dtd"
        document(f'<!DOCTYPE article SYSTEM "{address}"><article><body><p>Text.</p></body></article>')
        read(entities(f'<!ENTITY x SYSTEM "{address}">', "&x;"))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_nothing_is_included_from_elsewhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret.as_uri()}" parse="text"/>'
    assert "secret" not in document(f"<article><body><p>Text {include}.</p></body></article>").text
