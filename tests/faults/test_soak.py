"""kill -9 at every point that an ingest comes to, and at random moments. Takes long: pytest -m soak tests/faults."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.crashing import (
    Faults,
    Scene,
    check,
    check_while_down,
    parser_dies,
    request,
    service_dies,
    worker_dies,
)
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import FINAL, ServiceProcess, parsers_of, workers_of

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

KILLS = 200

LONGEST_PAUSE = 1.0
"""Before a kill, seconds: about as long as an ingest takes on a fast machine."""


@pytest.fixture
def scene(every_format: Scene) -> Scene:
    return every_format


@pytest.fixture
def anew(tmp_path: Path, scene: Scene, faults: Faults) -> Callable[[], Path]:
    """Makes another copy of the data, for another turn."""
    turns = iter(range(10_000))

    def copy() -> Path:
        faults.forget()
        return Path(shutil.copytree(scene.data, tmp_path / f"turn-{next(turns)}"))

    return copy


def test_a_worker_dies_at_every_point(serve: Serve, faults: Faults, scene: Scene, anew: Callable[[], Path]) -> None:
    points = [point for point in scene.points if point.startswith("worker ")]
    for point in points:
        service = serve(**scene.settings(anew()))
        with naming(point):
            worker_dies(point, service, faults, scene)
        service.stop()
    assert len(points) > 50


def test_a_parser_dies_at_every_point(serve: Serve, faults: Faults, scene: Scene, anew: Callable[[], Path]) -> None:
    points = [point for point in scene.points if point.startswith("parser ")]
    for point in points:
        service = serve(**scene.settings(anew()))
        with naming(point):
            parser_dies(point, service, faults, scene)
        service.stop()
    assert len(points) > 6


def test_the_service_dies_at_every_point(spawn: Spawn, faults: Faults, scene: Scene, anew: Callable[[], Path]) -> None:
    points = [point for point in scene.points if point.startswith("service ")]
    for point in points:
        data = anew()
        with naming(point):
            service_dies(point, partial(spawn, **scene.settings(data)), faults, scene, data)
    assert len(points) > 40


def test_random_kills(spawn: Spawn, faults: Faults, scene: Scene, anew: Callable[[], Path]) -> None:
    seed = int(os.environ.get("SEED", time.time_ns()))
    chance = random.Random(seed)
    left, workers, parsers = KILLS, 0, 0
    with naming(f"SEED={seed}"):
        while left:
            data = anew()
            turn = Turn(partial(spawn, **scene.settings(data), max_job_attempts=9), data, scene)
            turn.kill(chance, most=min(left, chance.randint(1, 4)))
            check(turn.service, scene, turn.service.end(turn.job), faults.computed(), deaths=turn.kills)
            turn.service.kill()
            left -= turn.kills
            workers, parsers = workers + turn.workers, parsers + turn.parsers
    assert KILLS // 4 < workers < KILLS - KILLS // 4, "both die often"
    assert parsers


class Turn:
    """One ingest with kills at random moments of it."""

    def __init__(self, spawn: Callable[[], ServiceProcess], data: Path, scene: Scene) -> None:
        self._spawn, self._data = spawn, data
        self.service = spawn()
        self.job = self.service.stub.StartIngest(request(scene)).job
        self.kills = self.workers = self.parsers = 0

    def kill(self, chance: random.Random, most: int) -> None:
        while self.kills < most:
            time.sleep(chance.uniform(0, LONGEST_PAUSE))
            if self.service.job(self.job).state in FINAL:
                return
            workers = workers_of(self.service.pid)
            if workers and chance.random() < 0.2:
                self._kill_parser(workers[0])
            if workers and chance.random() < 0.6:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(workers[0], signal.SIGKILL)
                self.workers += 1
            else:
                self.service.kill()
                check_while_down(self._data)
                self.service = self._spawn()
            self.kills += 1

    def _kill_parser(self, worker: int) -> None:
        """Kills the parser, one in a turn: a file that met two deaths is rightly reported."""
        for parser in parsers_of(worker) if not self.parsers else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(parser, signal.SIGKILL)
            self.parsers += 1


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
