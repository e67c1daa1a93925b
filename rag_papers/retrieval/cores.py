"""How many cores there are to compute with."""

import math
import os
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: a container may have the time of fewer than it sees."""
    seen = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        return min(seen, max(1, math.ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no container, or "max"
        return seen
