from typing import Any

import pytest

from ingest_service.pace import Pace, Speed
from rag_papers.persist.embedding_cache import Advance


class Clock:
    """Time as the test has it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ingest_service.pace.time", clock)
    return clock


def window(pace: Pace, clock: Clock, batches: int, **also: Any) -> None:
    """A window of 10 passages a batch, 10 characters each, a batch a second, none of them in the cache."""
    for number in range(1, batches + 1):
        clock.now += 1
        done = 10 * number
        pace.advance(
            Advance(
                passages=10 * batches,
                characters=100 * batches,
                done=done,
                computed=done,
                computed_characters=10 * done,
                missing_characters=100 * batches,
            )
        )


def test_no_time_is_told_before_all_is_read(clock: Clock) -> None:
    pace = Pace()
    assert pace.now() == Speed()
    window(pace, clock, 4)
    assert pace.now() == Speed(passages_per_second=10.0)
    pace.expect(100)
    assert pace.now() == Speed(passages_per_second=10.0, remaining_seconds=6.0)


def test_what_is_taken_over_does_not_count(clock: Clock) -> None:
    pace = Pace()
    pace.expect(100)
    pace.skip(30)  # equal to others, or all in the cache
    window(pace, clock, 4)
    pace.next_window()
    assert pace.now().remaining_seconds == 3.0
    window(pace, clock, 3)
    assert pace.now().remaining_seconds == 0.0


def test_between_batches_the_time_counts_down_and_a_late_batch_slows_it(clock: Clock) -> None:
    pace = Pace()
    pace.expect(100)
    window(pace, clock, 5)
    times = []
    for _ in range(4):
        times.append(pace.now().remaining_seconds or 0.0)
        clock.now += 0.5
    assert times[:3] == [5.0, 4.5, 4.0]
    assert times[3] > times[2]
