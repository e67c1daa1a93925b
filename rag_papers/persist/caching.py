"""Whether a call may read and write the caches."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """What a call may do with every cache."""

    read: bool
    """Reuse what is stored."""
    write: bool
    """Store, and replace, what was computed."""


USE = CachePolicy(read=True, write=True)
"""The default."""
REFRESH = CachePolicy(read=False, write=True)
"""Compute anew and replace."""
BYPASS = CachePolicy(read=False, write=False)
"""Leave every table untouched."""
