"""JATS, the XML of PubMed Central and of many publishers: headings and paragraphs as they are marked up.

Entities are never expanded and nothing is fetched. Of tables the caption and the notes are read, of formulas the text.
"""

import html
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from lxml import etree

from ingest_service.readers.bibliography import Bibliography, bibliography
from ingest_service.readers.composing import Composer
from ingest_service.readers.document import ByteSource, Document, no_text, read_bytes
from rag_papers.persist.index_store import FileError

_LEFT_OUT = frozenset(
    "ref-list table tex-math annotation permissions label title object-id graphic media inline-graphic front "
    "front-stub".split()
)
_BLOCKS = frozenset(
    "sec p abstract trans-abstract app app-group ack bio fn-group fn notes glossary list list-item def-list def-item "
    "def disp-quote boxed-text verse-group verse-line statement fig fig-group table-wrap table-wrap-group caption "
    "table-wrap-foot supplementary-material disp-formula disp-formula-group preformat code speech answer question "
    "body back chem-struct-wrap array ref-list table".split()
)
_SECTIONS = {
    "abstract": "Abstract",
    "trans-abstract": "Abstract",
    "ack": "Acknowledgements",
    "fn-group": "Notes",
    "notes": "Notes",
    "glossary": "Glossary",
    "app": "Appendix",
    "sec": "",
}
_LABELLED = frozenset(("fig", "table-wrap", "boxed-text", "supplementary-material"))
_SPACES = re.compile(r"\s+")


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """The file as one document."""
    data = read_bytes(path, file, limit)
    yield data if isinstance(data, FileError) else _document(path, data)


def _document(path: str, data: bytes) -> Document | FileError:
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else "it is no XML"
        return FileError(path=path, reason="MALFORMED", message=message)
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # type: ignore[union-attr]
        message = "it declares entities of its own, which are not expanded"
        return FileError(path=path, reason="MALFORMED", message=message)
    articles = [root] if _name(root) == "article" else _children(root, "article")
    if len(articles) != 1 or all(_find(articles[0], part) is None for part in ("front", "body")):
        message = f"it is no JATS article: its root is <{_name(root)}>"
        return FileError(path=path, reason="NOT_JATS", message=message)
    return _article(path, articles[0])


def _article(path: str, article: Any) -> Document | FileError:
    front = _find(article, "front")
    meta = _find(front, "article-meta") if front is not None else None
    composer = Composer()
    title = ""
    if meta is not None:
        group = _find(meta, "title-group")
        heading = _find(group, "article-title") if group is not None else None
        title = _line(heading)
        if title:
            composer.aside(title)
        for kind in ("abstract", "trans-abstract"):
            for abstract in _children(meta, kind):
                _block(composer, abstract, 1)
    for part in ("body", "floats-group", "back", "sub-article", "response"):
        for element in _children(article, part):
            composer.top()
            _inside(composer, element, 1)
    done = composer.done()
    if not done.sections:
        return no_text(path)
    return Document(
        document_id=path,
        place=path,
        title=title or PurePosixPath(path).stem,
        text=done.text,
        sections=done.sections,
        bibliography=_bibliography(meta),
    )


def _block(composer: Composer, element: Any, level: int) -> None:
    name = _name(element)
    if name in _LEFT_OUT:
        return
    if name in _SECTIONS:
        heading = _titled(element) or _SECTIONS[name]
        if heading:
            composer.heading(level, heading)
        _inside(composer, element, level + (1 if heading else 0))
        if level == 1:
            composer.top()
    elif name in _LABELLED:
        _labelled(composer, element, level)
    else:
        _inside(composer, element, level)


def _inside(composer: Composer, element: Any, level: int) -> None:
    """Everything in `element`, inline text between blocks as paragraphs of their own."""
    pieces: list[str] = []

    def close() -> None:
        text = _SPACES.sub(" ", "".join(pieces)).strip()
        pieces.clear()
        if text:
            composer.paragraph(text)

    if _name(element) not in _SECTIONS:
        heading = _titled(element)
        pieces.append(heading + " " if heading else "")
        if _name(element) in ("list-item", "fn", "disp-formula", "def-item"):
            label = _find(element, "label")
            pieces.append(_line(label) + " ")
    pieces.append(element.text or "")
    for child in element:
        name = _name(child)
        if name in _BLOCKS and not _is_inline(element, child):
            close()
            _block(composer, child, level)
        elif name not in _LEFT_OUT:
            pieces.append(_inline(child))
        pieces.append(child.tail or "")
    close()


def _is_inline(parent: Any, child: Any) -> bool:
    """Paragraphs within items and notes that have a label or nothing else but one paragraph stay with it."""
    lone = _name(parent) in ("list-item", "fn", "def", "caption") and len(_children(parent, "p")) == 1
    return lone and _name(child) == "p" and not any(_name(inner) in _BLOCKS for inner in child)


def _labelled(composer: Composer, element: Any, level: int) -> None:
    """A figure or table: label and caption as one paragraph, then what else it holds in words."""
    label = _find(element, "label")
    caption = _find(element, "caption")
    parts = [_line(label)]
    if caption is not None:
        parts += [_line(child) for child in caption]
    text = " ".join(filter(None, parts))
    if text:
        composer.paragraph(text)
    for child in element:
        if _name(child) in _BLOCKS and child is not caption:
            _block(composer, child, level)


def _titled(element: Any) -> str:
    title = _find(element, "title")
    if title is None:
        return ""
    label = _find(element, "label")
    return " ".join(filter(None, (_line(label), _line(title))))


def _line(element: Any) -> str:
    """The text of an element on one line; empty for None."""
    return "" if element is None else _inline(element).strip()


def _inline(element: Any) -> str:
    """The text of an element on one line, with a space where it has white space at its ends."""
    pieces: list[str] = []
    _collect(element, pieces)
    return _SPACES.sub(" ", "".join(pieces))


def _collect(element: Any, pieces: list[str]) -> None:
    if isinstance(element, etree._Entity):
        # The DTD, which is not read, defines the names that HTML has too.
        pieces.append(html.unescape(f"&{element.name};"))
        return
    if _name(element) in ("tex-math", "annotation", "object-id", "inline-graphic", "graphic"):
        return
    if _name(element) in ("break", "p", "title"):
        pieces.append(" ")
    pieces.append(element.text or "")
    for child in element:
        _collect(child, pieces)
        pieces.append(child.tail or "")


def _bibliography(meta: Any) -> Bibliography:
    if meta is None:
        return bibliography()
    dates = {date.get("pub-type") or date.get("date-type") or "": date for date in _children(meta, "pub-date")}
    order = ("epub", "pub", "ppub", "epub-ppub", "collection", *dates)
    year = next(
        (_text_of(dates[kind], "year") for kind in order if kind in dates and _text_of(dates[kind], "year")), ""
    )
    doi = next((_line(i) for i in _children(meta, "article-id") if i.get("pub-id-type") == "doi"), "")
    authors = [
        _author(contributor)
        for group in _children(meta, "contrib-group")
        for contributor in _children(group, "contrib")
        if contributor.get("contrib-type", "author") == "author"
    ]
    return bibliography({"year": year, "doi": doi, "authors": authors})


def _author(contributor: Any) -> str:
    name = _find(contributor, "name")
    if name is None:
        alternatives = _find(contributor, "name-alternatives")
        name = _find(alternatives, "name") if alternatives is not None else None
    if name is not None:
        return " ".join(
            filter(None, (_text_of(name, "given-names"), _text_of(name, "surname"), _text_of(name, "suffix")))
        )
    return _text_of(contributor, "string-name") or _text_of(contributor, "collab")


def _text_of(element: Any, name: str) -> str:
    return _line(_find(element, name))


def _name(element: Any) -> str:
    """The name of an element without its namespace; empty for what is none."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _children(element: Any, name: str) -> list[Any]:
    return [child for child in element if _name(child) == name]


def _find(element: Any, name: str) -> Any:
    return next((child for child in element if _name(child) == name), None)
