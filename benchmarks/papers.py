"""What the readers make of real papers, file by file, against pypdf's plain extraction for PDFs.

    pip install pypdf
    python benchmarks/papers.py DIRECTORY

Every file is ingested too, in this process with an encoder that needs no model, and every passage is compared with the
text extracted anew.
"""

import dataclasses
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from ingest import task_for
from pypdf import PdfReader

from ingest_service.build import build
from ingest_service.checking import wrong_passages
from ingest_service.parsing import Parser
from ingest_service.readers import CONFINED
from ingest_service.readers.document import Document

LIMIT, SECONDS, MEMORY = 64 << 20, 60.0, 1 << 30


def main(root: Path) -> None:
    print(
        "| file | characters | pages | sections | seconds | pypdf characters | pypdf seconds |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    totals = [0.0] * 6
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in CONFINED)
    with Parser(seconds=SECONDS, memory_bytes=MEMORY) as parser:
        list(parser.read("", ".html", io.BytesIO(b"<p>warm</p>"), LIMIT))
        for path in files:
            row = measured(parser, path)
            totals = [total + value for total, value in zip(totals, row, strict=True)]
            print(f"| {path.name} | {shown(row)} |")
    print(f"| all {len(files)} | {shown(totals)} |")
    ingest(root.resolve())


def measured(parser: Parser, path: Path) -> list[float]:
    data = path.read_bytes()
    start = time.perf_counter()
    [document] = parser.read(path.name, path.suffix.lower(), io.BytesIO(data), LIMIT)
    seconds = time.perf_counter() - start
    if not isinstance(document, Document):
        sys.exit(f"{path}: {document.reason}: {document.message}")
    pages = max((page.page for page in document.pages), default=0)
    row = [len(document.text), pages, len(document.sections), seconds, 0.0, 0.0]
    if path.suffix.lower() == ".pdf":
        start = time.perf_counter()
        row[4] = sum(len(page.extract_text()) for page in PdfReader(io.BytesIO(data)).pages)
        row[5] = time.perf_counter() - start
    return row


def shown(row: list[float]) -> str:
    characters, pages, sections, seconds, pypdf_characters, pypdf_seconds = row
    pypdf = f"{pypdf_characters:.0f} | {pypdf_seconds:.2f}" if pypdf_characters else "|"
    return f"{characters:.0f} | {pages:.0f} | {sections:.0f} | {seconds:.2f} | {pypdf}"


def ingest(root: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        for place in ("indexes", "corpora", "seen"):
            (data / place).mkdir()
        task = dataclasses.replace(task_for(root, data, 0), model_name="hashing-64", use_cache=False)
        build(task, lambda *_, **__: None)
        manifest = json.loads((data / "staging" / "meta.json").read_text())
        wrong = list(wrong_passages(data / "staging", root))
        failures = (data / "staging" / "failures.jsonl").read_text().splitlines()
    print(
        f"ingested: {manifest['document_count']} papers, {manifest['passage_count']} passages, {len(failures)} failures"
    )
    print(f"passages that are not the bytes they cite: {len(wrong)}", *wrong[:10], sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
