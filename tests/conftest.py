"""What all tests need."""

import contextlib

# torch, imported after usearch, never ends tracing a model. The services freeze in a process of its own, tests here.
with contextlib.suppress(ImportError):
    import torch  # noqa: F401
