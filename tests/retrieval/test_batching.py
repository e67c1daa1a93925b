import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.batching import Gatherer

PATIENCE = 60


class Doubling:
    """Doubles numbers; the first batch waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Event()
        self.may_end = threading.Event()
        self._at_work = threading.Lock()

    def __call__(self, items: list[int]) -> list[int]:
        assert self._at_work.acquire(blocking=False), "two batches at once"
        try:
            self.batches.append(items)
            self.began.set()
            assert self.may_end.wait(PATIENCE)
            if any(item < 0 for item in items):
                raise ValueError(f"{items} are not all positive")
            return [2 * item for item in items]
        finally:
            self._at_work.release()


def all_waiting(gatherer: Gatherer[int, int], count: int) -> None:
    """Returns once `count` calls wait for the batch that runs."""
    deadline = threading.Event()
    while len(gatherer._waiting) < count:
        deadline.wait(0.001)


def together(work: Doubling, items: list[int], most: int) -> list[int | str]:
    """Calls for 0 first, and then for `items` at once while it is worked on; their outcomes, errors as text."""
    gatherer = Gatherer(work, most=most)

    def call(item: int) -> int | str:
        try:
            return gatherer(item)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(call, 0)
        assert work.began.wait(PATIENCE)
        rest = []
        for count, item in enumerate(items, start=1):
            rest.append(pool.submit(call, item))
            all_waiting(gatherer, count)
        work.may_end.set()
        assert first.result(PATIENCE) == 0
        return [call.result(PATIENCE) for call in rest]


def test_a_lone_call_runs_at_once_and_alone() -> None:
    work = Doubling()
    work.may_end.set()
    gatherer = Gatherer(work, most=8)
    assert [gatherer(item) for item in (1, 2, 3)] == [2, 4, 6]
    assert work.batches == [[1], [2], [3]]


def test_calls_that_come_meanwhile_are_served_together_in_bounded_batches() -> None:
    work = Doubling()
    assert together(work, [1, 2, 3, 4, 5], most=3) == [2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]


def test_an_error_reaches_the_caller_that_it_belongs_to_and_no_other() -> None:
    work = Doubling()
    assert together(work, [1, -2, 3], most=8) == [2, "[-2] are not all positive", 6]
    assert work.batches[:2] == [[0], [1, -2, 3]]


def test_work_goes_on_after_an_error() -> None:
    work = Doubling()
    work.may_end.set()
    gatherer = Gatherer(work, most=8)
    with pytest.raises(ValueError, match=r"\[-1\]"):
        gatherer(-1)
    assert gatherer(1) == 2


def test_an_interrupted_caller_leaves_the_worker_idle() -> None:
    def work(items: list[int]) -> list[int]:
        if items == [0]:
            raise KeyboardInterrupt
        return items

    gatherer = Gatherer(work, most=8)
    with pytest.raises(KeyboardInterrupt):
        gatherer(0)
    assert gatherer(1) == 1


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 30))
def test_everybody_gets_an_own_outcome(threads: int, most: int, calls: int) -> None:
    sizes: list[int] = []

    def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return [item * item for item in items]

    gatherer = Gatherer(work, most=most)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(gatherer, range(calls))) == [item * item for item in range(calls)]
    assert sum(sizes) == calls
    assert max(sizes) <= min(most, threads)
