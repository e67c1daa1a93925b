"""How many searches are computed at once."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from query_service import retrieving
from rag_papers.persist.index_store import OpenIndex
from tests.query_service.query_harness import LIBRARY, PATIENCE, Service, eventually

AT_ONCE = 6


class Held:
    """Searches, all of which wait until they are let go."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def search(self, *arguments: Any, **named: Any) -> list[Any]:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        assert self.let_go.wait(PATIENCE)
        with self._lock:
            self.under_way -= 1
        return []


@pytest.mark.parametrize(("small", "most"), [(1 << 20, 2), (0, AT_ONCE)])
def test_of_a_small_index_no_more_than_the_cores_of_a_large_one_all(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Service], small: int, most: int
) -> None:
    held, asked, turn = Held(), [], retrieving.Rankings.turn

    def turn_of(rankings: retrieving.Rankings, index: OpenIndex) -> contextlib.AbstractContextManager[object]:
        asked.append(index)
        return turn(rankings, index)

    monkeypatch.setattr(retrieving, "search", held.search)
    monkeypatch.setattr(retrieving.Rankings, "turn", turn_of)
    monkeypatch.setattr(retrieving, "cores", lambda: 2)
    monkeypatch.setattr(retrieving, "_SMALL_NUMBERS", small)
    service = serve(query_threads=AT_ONCE)
    service.publish("library", LIBRARY)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(service.search, f"question {number}", use_cache=False) for number in range(AT_ONCE)]
        eventually(lambda: len(asked) == AT_ONCE and held.under_way == most)
        held.let_go.set()
        for call in calls:
            call.result(PATIENCE)
    assert held.most == most
    assert held.under_way == 0
