import ctypes
import mmap
import re
from pathlib import Path

import pytest

from rag_papers.retrieval.encoders.huge_pages import in_huge_pages

SIZE = 16 << 20
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HERE = ENABLED.exists() and "[never]" not in ENABLED.read_text()


def wants_huge_pages(address: int) -> bool:
    """Whether the region that an address is in was advised to be in huge pages; if it is depends on what is free."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if place := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(place[1], 16) <= address < int(place[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError("there is no such region")


@pytest.mark.skipif(not HERE, reason="this system has no huge pages")
def test_what_is_taken_meanwhile_is_to_be_in_huge_pages_and_keeps_its_content() -> None:
    before = mmap.mmap(-1, SIZE)
    with in_huge_pages():
        data = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        data[:] = b"text" * (SIZE // 4)
    assert wants_huge_pages(middle(data))
    assert not wants_huge_pages(middle(before))
    assert data[:] == b"text" * (SIZE // 4)


def middle(data: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(data)) + SIZE // 2


def test_what_fails_meanwhile_fails() -> None:
    with pytest.raises(KeyError), in_huge_pages():
        raise KeyError
