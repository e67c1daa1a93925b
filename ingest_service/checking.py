"""Whether the passages of an index are what its papers say: every one is compared with the text extracted anew."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from ingest_service.extract import extract
from rag_papers.persist.index_store import PASSAGES, PassageRecord, read_documents


def wrong_passages(index: Path, root: Path) -> Iterator[str]:
    """What is wrong, a line each, with the index of the papers below `root`; nothing if every passage is right.

    A passage is right if it is exactly its bytes of its paper's extracted text, and if pages and order make sense.
    Raises IndexNotFound, IndexDamaged or OSError.
    """
    with (index / PASSAGES).open("rb") as file:
        passages = (PassageRecord(**json.loads(line)) for line in file)
        for path, records in itertools.groupby(read_documents(index), lambda record: record.path):
            texts = {document.document_id: document.text.encode() for document in extract(root / path, path)}
            for record in records:
                text = texts.get(record.document_id, b"")
                if len(text) != record.size_bytes:
                    yield f"{record.document_id}: its text has {len(text)} bytes, {record.size_bytes} are recorded"
                last = 0
                for passage in itertools.islice(passages, record.passage_count):
                    yield from _wrong(passage, record.document_id, text, last)
                    last = passage.end_byte
        if next(passages, None) is not None:
            yield "there are passages of no document"


def _wrong(passage: PassageRecord, document_id: str, text: bytes, last: int) -> Iterator[str]:
    if passage.document_id != document_id:
        yield f"{passage.passage_id}: it belongs to {passage.document_id}, not to {document_id}"
    if not last <= passage.start_byte < passage.end_byte <= len(text):
        yield f"{passage.passage_id}: bytes {passage.start_byte} to {passage.end_byte} follow {last} of {len(text)}"
    if text[passage.start_byte : passage.end_byte] != passage.text.encode():
        yield f"{passage.passage_id}: it is not its bytes of the extracted text"
    if not 0 <= passage.first_page <= passage.last_page:
        yield f"{passage.passage_id}: pages {passage.first_page} to {passage.last_page}"
