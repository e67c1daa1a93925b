"""Single flight: who works, who waits, and who goes on when the one who works does not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from query_service.flights import Flights
from query_service.stop import Stop
from rag_papers.errors import DeadlineExceeded
from rag_papers.persist.claims import Claims
from rag_papers.persist.hashing import digest

KEY, OTHER = digest("a question"), digest("another")
PATIENCE = 30.0


@pytest.fixture
def flights(tmp_path: Path) -> Flights[str]:
    return Flights(Claims(tmp_path / "claims"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Flights[str]:
    """As another process has them: its claims are not ours."""
    return Flights(Claims(tmp_path / "claims"))


class Work:
    """Counts how often it is done, and is done when it may be."""

    def __init__(self) -> None:
        self.times = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        self.times += 1
        self.begun.set()
        await self.may_end.wait()
        return f"made {self.times}"


def fly(
    flights: Flights[str], work: Callable[[], Awaitable[str]], stop: Stop | None = None, key: bytes = KEY
) -> "asyncio.Task[tuple[str, bool]]":
    return asyncio.create_task(flights.fly(key, stop or Stop(PATIENCE), work, lambda made: True))


def test_one_works_and_the_others_get_what_it_makes(flights: Flights[str]) -> None:
    async def play() -> None:
        work = Work()
        tasks = [fly(flights, work) for _ in range(50)]
        await work.begun.wait()
        other = Work()
        different = fly(flights, other, key=OTHER)
        await other.begun.wait()  # which waits for nobody
        other.may_end.set()
        assert await different == ("made 1", True)
        work.may_end.set()
        assert sorted(await asyncio.gather(*tasks)) == 49 * [("made 1", False)] + [("made 1", True)]
        assert work.times == 1
        assert await fly(flights, work) == ("made 2", True)  # the flight is over; reuse is the cache's business

    asyncio.run(play())


def test_a_leader_that_is_cancelled_is_succeeded(flights: Flights[str]) -> None:
    async def play() -> None:
        work = Work()
        leader, *others = (fly(flights, work) for _ in range(5))
        await work.begun.wait()
        work.begun.clear()
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        await work.begun.wait()
        for _ in range(20):
            await asyncio.sleep(0)  # until the others wait too; those that came later would find it in the cache
        work.may_end.set()
        made = await asyncio.gather(*others)
        assert {text for text, _ in made} == {"made 2"}
        assert sum(own for _, own in made) == 1

    asyncio.run(play())


def test_each_fails_with_its_own_error(flights: Flights[str]) -> None:
    async def play() -> None:
        async def failing(name: str) -> str:
            await asyncio.sleep(0)
            raise ValueError(name)

        tasks = [fly(flights, lambda name=name: failing(name)) for name in "abc"]  # type: ignore[misc]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in found] == ["a", "b", "c"]

    asyncio.run(play())


def test_a_follower_has_its_own_deadline_and_can_be_cancelled(flights: Flights[str]) -> None:
    async def play() -> None:
        work = Work()
        leader, patient = fly(flights, work), fly(flights, work)
        await work.begun.wait()
        hurried, cancelled = fly(flights, work, Stop(0.01)), fly(flights, work)
        with pytest.raises(DeadlineExceeded):
            await hurried
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        work.may_end.set()
        assert await asyncio.gather(leader, patient) == [("made 1", True), ("made 1", False)]

    asyncio.run(play())


def test_what_only_its_maker_can_use_is_not_shared(flights: Flights[str]) -> None:
    async def play() -> None:
        work = Work()
        work.may_end.set()
        first, second = (
            asyncio.create_task(flights.fly(KEY, Stop(PATIENCE), work, lambda made: made != "made 1")) for _ in "ab"
        )
        assert await asyncio.gather(first, second) == [("made 1", True), ("made 2", True)]

    asyncio.run(play())


def test_across_processes_one_works_at_a_time(flights: Flights[str], elsewhere: Flights[str]) -> None:
    async def play() -> None:
        work, there = Work(), Work()
        mine = fly(flights, work)
        await work.begun.wait()
        theirs = fly(elsewhere, there)
        hurried = fly(elsewhere, there, Stop(0.02))
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert there.times == 0
        there.may_end.set()
        work.may_end.set()
        assert await mine == ("made 1", True)
        assert await theirs == ("made 1", True)  # having looked into the cache first

    asyncio.run(play())


def test_a_leader_that_waits_for_another_process_leaves_its_claim_to_it(
    flights: Flights[str], elsewhere: Flights[str]
) -> None:
    async def play() -> None:
        work, there = Work(), Work()
        mine = fly(flights, work)
        await work.begun.wait()
        hurried = fly(elsewhere, there, Stop(0.02))
        with pytest.raises(DeadlineExceeded):
            await hurried
        claims = elsewhere._claims
        assert claims and not claims.claim(KEY)
        work.may_end.set()
        await mine
        assert claims.claim(KEY)

    asyncio.run(play())


def test_threads_share_too(flights: Flights[str]) -> None:
    begun, may_end = threading.Event(), threading.Event()
    times = 0

    def work() -> str:
        nonlocal times
        times += 1
        begun.set()
        assert may_end.wait(PATIENCE)
        return "made"

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(flights.run, KEY, Stop(PATIENCE), work) for _ in range(8)]
        assert begun.wait(PATIENCE)
        with pytest.raises(DeadlineExceeded):
            flights.run(KEY, Stop(0.01), work)
        may_end.set()
        assert sorted(future.result(PATIENCE) for future in running) == 7 * [("made", False)] + [("made", True)]
    assert times == 1


def test_a_thread_that_fails_is_succeeded(flights: Flights[str]) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def failing() -> str:
        begun.set()
        assert may_end.wait(PATIENCE)
        raise ValueError("mine")

    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(flights.run, KEY, Stop(PATIENCE), failing)
        assert begun.wait(PATIENCE)
        follower = threads.submit(flights.run, KEY, Stop(PATIENCE), lambda: "made")
        may_end.set()
        with pytest.raises(ValueError, match="mine"):
            leader.result(PATIENCE)
        assert follower.result(PATIENCE) == ("made", True)
