"""HTML: the main text of a page, its headings as sections; scripts, navigation and forms are left out."""

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from lxml import etree
from lxml import html as parsing

from ingest_service.readers.bibliography import Bibliography, bibliography, line
from ingest_service.readers.composing import Composer
from ingest_service.readers.document import ByteSource, Document, no_text, not_decoded, read_bytes, reading_noted
from ingest_service.readers.encoding import decode
from rag_papers.persist.index_store import FileError

_LEFT_OUT = frozenset(
    "script style noscript template nav aside form button select textarea svg canvas iframe object audio video head "
    "annotation annotation-xml".split()
)
_ROLES = frozenset("navigation banner contentinfo search complementary menu dialog".split())
_PAGE_FRAME = frozenset(("header", "footer"))
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd label mark math q rp rt ruby s samp "
    "small span strike strong sub sup time tt u var wbr mi mn mo mrow ms mtext msub msup msubsup mfrac msqrt "
    "semantics".split()
)
_DECLARED = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_HEAD = 4096


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """The file as one document, and which encoding it was taken for where it does not say."""
    data = read_bytes(path, file, limit)
    if isinstance(data, FileError):
        yield data
        return
    read_as = decode(data, _declared(data))
    if read_as is None:
        yield not_decoded(path, data)
        return
    if read_as.guessed:
        yield reading_noted(path, read_as.guessed)
    yield _document(path, read_as.text)


def _declared(data: bytes) -> str:
    found = _DECLARED.search(data, 0, _HEAD)
    name = found[1].decode("ascii") if found else ""
    try:
        # What calls itself Latin-1 is Windows-1252 on the web (WHATWG Encoding, 4.2).
        return "cp1252" if codecs.lookup(name).name in ("iso8859-1", "ascii") else name
    except LookupError:
        return ""


def _document(path: str, text: str) -> Document | FileError:
    text = text.removeprefix("\ufeff").replace("\x00", "")
    if not text.strip():
        return no_text(path)
    parser = parsing.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = parsing.document_fromstring(text.encode("utf-8"), parser=parser)
    except (etree.ParserError, ValueError):
        return no_text(path)
    if any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log):
        # What lies deeper has been dropped, and with it maybe text.
        return FileError(path=path, reason="MALFORMED", message="its elements are nested too deeply")
    meta = _meta(root)
    composer = Composer()
    main = _main(root)
    top = _text(next(iter(main.iter("h1")), None))
    title = line(meta.get("citation_title") or meta.get("dc.title") or top or _text(root.find(".//title")))
    _compose(composer, main, title)
    done = composer.done()
    if not done.sections:
        return no_text(path)
    return Document(
        document_id=path,
        place=path,
        title=title or PurePosixPath(path).stem,
        text=done.text,
        sections=done.sections,
        bibliography=_bibliography(root, meta),
    )


def _main(root: Any) -> Any:
    """The element that holds the page's own text."""
    for found in (root.findall(".//main"), root.xpath(".//*[@role='main']"), root.findall(".//article")):
        if len(found) == 1:
            return found[0]
    body = root.find("body")
    return root if body is None else body


def _compose(composer: Composer, main: Any, title: str) -> None:
    pieces: list[str] = []
    heading: int | None = None
    left_out: Any = None
    preformatted = 0

    def close() -> None:
        text = "".join(pieces)
        text = text.strip("\n") if preformatted else _SPACES.sub(" ", text).strip()
        pieces.clear()
        if not text.strip():
            return
        if heading is None:
            composer.paragraph(text)
        elif heading == 1 and text == title:
            composer.aside(text)
        else:
            composer.heading(heading, text)

    for event, element in etree.iterwalk(main, events=("start", "end")):
        name = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if left_out is None and _is_left_out(element, name, main):
                left_out = element
            if left_out is not None:
                continue
            if name not in _INLINE:
                close()
            heading = _HEADINGS.get(name, heading)
            preformatted += name == "pre"
            pieces.append("\n" if name == "br" and preformatted else " " if name == "br" else "")
            pieces.append(element.text or "")
        else:
            if left_out is None:
                if name not in _INLINE:
                    close()
                heading = None if name in _HEADINGS else heading
                preformatted -= name == "pre"
            elif left_out is element:
                left_out = None
            if left_out is None and element is not main:
                pieces.append(element.tail or "")
    close()


def _is_left_out(element: Any, name: str, main: Any) -> bool:
    if name in _LEFT_OUT or element.get("role", "").lower() in _ROLES:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden", "").lower() == "true":
        return True
    # Of the page, not of an article in it, where they may hold its title.
    return name in _PAGE_FRAME and main.tag == "body" and not any(True for _ in element.iterancestors("article"))


def _meta(root: Any) -> Mapping[str, str]:
    """The first content of each <meta name>, names in lower case."""
    found: dict[str, str] = {}
    for element in root.iter("meta"):
        name = (element.get("name") or element.get("property") or "").strip().lower().replace("dcterms.", "dc.")
        content = element.get("content") or ""
        if name and content.strip():
            found.setdefault(name, content)
    return found


def _bibliography(root: Any, meta: Mapping[str, str]) -> Bibliography:
    authors = {
        name: [element.get("content") or "" for element in root.iter("meta") if _is_named(element, name)]
        for name in ("citation_author", "dc.creator", "dcterms.creator")
    }
    highwire = {
        "year": meta.get("citation_publication_date") or meta.get("citation_date") or meta.get("citation_year") or "",
        "date": meta.get("citation_online_date", ""),
        "authors": authors["citation_author"] or meta.get("citation_authors", ""),
        "doi": meta.get("citation_doi", ""),
    }
    dublin_core = {
        "year": meta.get("dc.date") or meta.get("dc.issued") or meta.get("dc.date.issued") or "",
        "authors": authors["dc.creator"] or authors["dcterms.creator"],
        "doi": meta.get("dc.identifier", ""),
    }
    plain = {
        "author": meta.get("author", ""),
        "date": meta.get("article:published_time", ""),
        "doi": meta.get("doi", ""),
    }
    return bibliography(highwire, dublin_core, plain)


def _is_named(element: Any, name: str) -> bool:
    return (element.get("name") or "").strip().lower() == name


def _text(element: Any) -> str:
    return "" if element is None else _SPACES.sub(" ", "".join(element.itertext())).strip()
