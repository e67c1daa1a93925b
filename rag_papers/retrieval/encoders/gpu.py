"""The reference on a GPU: in half precision, where that gives the same vectors."""

import ctypes
import logging

import numpy as np

from rag_papers.retrieval.encoders.base import Encoder
from rag_papers.retrieval.encoders.freezing import TEXTS
from rag_papers.retrieval.encoders.reference import SentenceTransformerEncoder

logger = logging.getLogger(__name__)

MOST_DIFFERENCE = 1e-3
"""Most that a number of a vector may differ from the exact one for the vectors to be interchangeable."""


def has_gpu() -> bool:
    """Whether NVIDIA's driver names a GPU that this process may use. Costs milliseconds, where torch's import takes
    seconds; CUDA_VISIBLE_DEVICES hides GPUs from it too.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def torch_has_gpu() -> bool:
    """Whether torch can compute on a GPU: it may be built without, or be newer than the driver."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def on_gpu(exact: Encoder, reference: SentenceTransformerEncoder, device: str = "cuda") -> SentenceTransformerEncoder:
    """`reference` on `device`, in large batches: in half precision if its vectors are interchangeable with those of
    `exact`, as is proved on TEXTS, else in full precision. So its identity is that of `reference` either way.
    """
    half = SentenceTransformerEncoder(reference.files, device=device, large_batches=True, half=True)
    difference = float(np.abs(half.encode(TEXTS) - exact.encode(TEXTS)).max())
    if difference <= MOST_DIFFERENCE:  # NaN is not
        logger.info("model %s runs on %s in half precision: off by %.1e at most", reference.name, device, difference)
        return half
    logger.warning("model %s runs on %s in full precision: half is off by %.1e", reference.name, device, difference)
    return SentenceTransformerEncoder(reference.files, device=device, large_batches=True)
