"""What all tests need."""

import contextlib

# torch, imported after usearch, never ends tracing a model. The services never import both in that order; tests may.
with contextlib.suppress(ImportError):
    import torch  # noqa: F401
