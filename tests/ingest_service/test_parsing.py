import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_service.parsing import Parser
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import FileError
from tests.ingest_service.ingest_harness import alive, until
from tests.ingest_service.pdfs import bomb, of_objects, plain

LIMIT = 64 << 20
SLOW = bomb(20)  # takes seconds, and less memory than is allowed
GOOD = plain("A good paper.")


@pytest.fixture
def parser() -> Iterator[Parser]:
    with Parser(seconds=60, memory_bytes=1 << 30) as parser:
        yield parser


def read(parser: Parser, data: bytes, path: str = "a.pdf", limit: int = LIMIT) -> Document | FileError:
    *_, found = parser.read(path, "." + path.rpartition(".")[2], io.BytesIO(data), limit)
    return found


def goes_on(parser: Parser) -> bool:
    found = read(parser, GOOD)
    return isinstance(found, Document) and found.text == "A good paper."


def reason(found: Document | FileError) -> str:
    return found.reason if isinstance(found, FileError) else ""


def test_a_document_comes_back_as_the_reader_made_it(parser: Parser) -> None:
    found = read(parser, plain("First.", "Second."))
    assert isinstance(found, Document)
    assert (found.document_id, found.text) == ("a.pdf", "First.\n\nSecond.")
    assert [(page.start, page.page) for page in found.pages] == [(0, 1), (8, 2)]
    assert [section.heading for section in found.sections] == [""]


def test_one_process_reads_many_files_and_ends_with_its_worker() -> None:
    with Parser(seconds=60, memory_bytes=1 << 30) as parser:
        assert goes_on(parser)
        process = parser._process
        assert process is not None
        assert goes_on(parser) and read(parser, b"<p>text</p>", "a.html")
        assert parser._process is process
    assert not alive(process.pid)


def test_a_file_that_takes_too_long_costs_itself_alone() -> None:
    with Parser(seconds=0.3, memory_bytes=4 << 30) as parser:
        assert goes_on(parser)
        found = read(parser, SLOW)
        assert reason(found) == "PARSE_TIMEOUT"
        assert goes_on(parser)


def test_a_process_that_is_stopped_is_killed_in_the_end() -> None:
    with Parser(seconds=1, memory_bytes=1 << 30, grace=1) as parser:
        for large in (b"", b" " * (1 << 20)):  # the second one is more than the pipe holds
            assert goes_on(parser)
            assert parser._process is not None
            parser._process.send_signal(signal.SIGSTOP)
            assert reason(read(parser, GOOD + large)) == "PARSE_TIMEOUT"
        assert goes_on(parser)


def test_a_bomb_is_stopped_by_its_memory_and_costs_itself_alone() -> None:
    with Parser(seconds=60, memory_bytes=128 << 20) as parser:
        assert goes_on(parser)
        found = read(parser, bomb(500))
        assert reason(found) == "PARSE_MEMORY"
        assert goes_on(parser)


def test_a_file_whose_parser_is_killed_is_read_again_and_reported_when_that_one_is_killed_too(parser: Parser) -> None:
    assert goes_on(parser)
    found: list[Document | FileError] = []
    reading = threading.Thread(target=lambda: found.append(read(parser, SLOW)))
    reading.start()
    killed: set[int] = set()
    for _ in range(2):
        pid = until(lambda: at_work(parser, killed), "a parser at work")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    reading.join()
    assert reason(found[0]) == "PARSE_CRASHED"
    assert isinstance(found[0], FileError) and "SIGKILL" in found[0].message
    assert goes_on(parser)


def at_work(parser: Parser, killed: set[int]) -> int:
    """The process, once it has computed for longer than its start takes, unless it is one of `killed`."""
    process = parser._process
    if process is None or process.pid in killed:
        return 0
    with contextlib.suppress(FileNotFoundError):
        return process.pid if _cpu_seconds(process.pid) > 1.0 else 0
    return 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_parser_that_died_between_two_files_is_replaced(parser: Parser) -> None:
    assert goes_on(parser)
    assert parser._process is not None
    os.kill(parser._process.pid, signal.SIGSEGV)
    parser._process.wait()
    assert goes_on(parser)


def test_many_pages_come_to_an_end() -> None:
    kids = b"3 0 R " * 100_000
    pages = of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count 100000>>" % kids,
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
    )
    with Parser(seconds=1, memory_bytes=1 << 30) as parser:
        assert reason(read(parser, pages)) in ("PARSE_TIMEOUT", "NO_TEXT", "MALFORMED")
        assert goes_on(parser)


def test_entities_that_grow_and_deep_trees_cost_themselves_alone(parser: Parser) -> None:
    laughs = b'<!DOCTYPE article [<!ENTITY a "ha"><!ENTITY b "%s">]><article><body><p>&b;</p></body></article>'
    assert reason(read(parser, laughs % (b"&a;" * 1000), "a.xml")) == "MALFORMED"
    assert reason(read(parser, b"<a>" * 1_000_000, "a.xml")) == "MALFORMED"
    assert goes_on(parser)


def test_a_file_over_the_limit_is_not_handed_over(parser: Parser) -> None:
    assert reason(read(parser, GOOD, limit=10)) == "TOO_LARGE"
    assert parser._process is None
