import ctypes
import re
from pathlib import Path

import pytest

from rag_papers.retrieval.encoders.huge_pages import in_huge_pages

SIZE = 16 << 20
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HERE = ENABLED.exists() and "[never]" not in ENABLED.read_text()


def huge_bytes(address: int) -> int:
    """Bytes in huge pages of the region that an address is in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if place := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(place[1], 16) <= address < int(place[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) << 10
    raise AssertionError("there is no such region")


@pytest.mark.skipif(not HERE, reason="this system has no huge pages")
def test_what_is_taken_meanwhile_is_in_huge_pages_and_keeps_its_content() -> None:
    with in_huge_pages():
        data = bytearray(b"text") * (SIZE // 4)
    address = ctypes.addressof(ctypes.c_char.from_buffer(data))
    assert huge_bytes(address + SIZE // 2) >= SIZE // 2
    assert data == b"text" * (SIZE // 4)


def test_what_fails_meanwhile_fails() -> None:
    with pytest.raises(KeyError), in_huge_pages():
        raise KeyError
