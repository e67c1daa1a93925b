"""Small indexes, built as a worker builds them."""

from collections.abc import Sequence
from pathlib import Path

from rag_papers.persist.index_store import (
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    DocumentRecord,
    FileError,
    IndexBuilder,
    Manifest,
    PassageRecord,
    publish,
)
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.bm25 import fit
from rag_papers.retrieval.encoders import HashingEncoder

CORPUS_ID = "0123456789abcdef"
TEXTS = (
    "Attention is all you need, as the transformer shows.",
    "深度学习改变了自然语言处理。",
    "تتعلم الشبكات العصبية من البيانات.",
    "Le café naïve était fermé à midi.",
    "Cafe\u0301 in letters and accents \N{ROCKET}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    'Quotes " and \\ backslashes,\ttabs\nand\r\nlines\N{LINE SEPARATOR}of every \0 kind.',
)


def records(texts: Sequence[str] = TEXTS) -> list[PassageRecord]:
    """One passage of one document for each text."""
    return [
        PassageRecord(
            passage_id=f"doc-{number}:0",
            document_id=f"doc-{number}.txt",
            title=text[:12],
            path=f"doc-{number}.txt",
            section="",
            first_page=0,
            last_page=0,
            start_byte=0,
            end_byte=len(text.encode()),
            text=text,
        )
        for number, text in enumerate(texts)
    ]


def build(staging: Path, texts: Sequence[str] = TEXTS, corpus_id: str = CORPUS_ID) -> Manifest:
    """A finished index in `staging`."""
    builder = IndexBuilder(staging)
    passages = records(texts)
    builder.write_array(PASSAGE_OFFSETS, builder.write_lines(PASSAGES, passages))
    documents = [
        DocumentRecord(
            document_id=passage.document_id,
            path=passage.path,
            title=passage.title,
            year=2000 + number,
            authors=("Ada Lovelace", "Alan Turing"),
            doi="",
            size_bytes=passage.end_byte,
            first_passage=number,
            passage_count=1,
        )
        for number, passage in enumerate(passages)
    ]
    builder.write_lines(DOCUMENTS, documents)
    builder.write_lines(FAILURES, [FileError(path="bad.txt", reason="NOT_UTF8", message="byte 0 is not UTF-8")])
    builder.write_postings(fit([terms(text) for text in texts]))
    encoder = HashingEncoder(8)
    with builder.vectors(encoder.dim) as vectors:
        vectors.append(encoder.encode(texts))
    return builder.finish(
        corpus_id=corpus_id,
        document_count=len(texts),
        passage_count=len(texts),
        dim=encoder.dim,
        model_name=encoder.name,
        model_identity=encoder.identity,
        analyzer=ANALYZER,
        chunker="none",
    )


def build_and_publish(root: Path, texts: Sequence[str] = TEXTS) -> Path:
    """The directory of an index published below `root`."""
    staging, indexes = root / "indexes" / ".staging" / "job", root / "indexes"
    manifest = build(staging, texts)
    publish(staging, indexes, manifest)
    return indexes / manifest.corpus_id


def read_all(directory: Path) -> dict[str, bytes]:
    """The bytes of every file by name."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
