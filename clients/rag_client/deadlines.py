"""How long a call may take, seconds."""

from rag_papers.errors import InvalidRequest

UNARY = 60.0
"""Calls that look something up."""

ASK = 120.0
"""Questions, which may wait for a generator."""

WHOLE_INDEX = 600.0
"""Calls that read all files of an index, or wait for one that does."""

WHOLE_SESSION = 600.0
"""Calls that read all turns of a session."""

UPLOAD = 86400.0
"""Sending papers, over whatever line."""

PREPARE = 1800.0
"""Freezing a model, which may have to be downloaded."""

WARM = 86400.0
"""Of a call that asks many questions."""

VACUUM = 600.0
"""Rewriting a cache database, which grows with its size."""

LONGEST = 1e9
"""More than this overflows inside gRPC and would fail at once."""


def checked(seconds: float) -> float:
    """`seconds`, or InvalidRequest if no call could keep it."""
    if not 0 < seconds <= LONGEST:
        raise InvalidRequest(violations={"timeout": f"{seconds:g} is not a number of seconds above 0"})
    return seconds
