"""How much else ran on the machine while a benchmark did."""

import os
import time
from pathlib import Path


class Neighbours:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._used = self._others()

    def cores(self) -> float:
        """Cores that other processes have kept busy, on average; children that have not ended count as others."""
        return (self._others() - self._used) / (time.perf_counter() - self._start)

    @staticmethod
    def _others() -> float:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
        busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])
