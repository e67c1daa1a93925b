"""Vectors that lie as those of texts do: in clusters of many sizes, within fewer dimensions than they have numbers."""

import numpy as np
import numpy.typing as npt

_CLUSTERS, _LATENT, _SPREAD, _NOISE = 2000, 32, 0.7, 0.15


def clustered(count: int, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """(count, dim), rows L2-normalised; the clusters are the same for every seed."""
    world, random = np.random.default_rng(0), np.random.default_rng([1, seed])
    scale = 1 / np.sqrt(1 + np.arange(_LATENT) / 8)
    centres = world.standard_normal((_CLUSTERS, _LATENT)) * scale
    projection = world.standard_normal((_LATENT, dim)) / np.sqrt(_LATENT)
    of = np.minimum(random.geometric(2 / _CLUSTERS, count), _CLUSTERS) - 1
    latent = centres[of] + _SPREAD * scale * random.standard_normal((count, _LATENT))
    rows = (latent @ projection + _NOISE * random.standard_normal((count, dim))).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
