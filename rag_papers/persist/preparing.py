"""Which encoder computes: the frozen form of a model, prepared if need be, or the reference."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from rag_papers.errors import ModelUnavailable
from rag_papers.persist.model_store import FrozenModel, ModelFacts, ModelStore
from rag_papers.retrieval.encoders import FP32, Encoder, SentenceTransformerEncoder, gpu
from rag_papers.retrieval.encoders.freezing import NotFreezable
from rag_papers.retrieval.encoders.freezing_process import freeze_apart
from rag_papers.retrieval.encoders.frozen import LARGE_SHARE, FrozenEncoder
from rag_papers.retrieval.models import ModelFiles

logger = logging.getLogger(__name__)

Freeze = Callable[[ModelFiles, Path, str], None]
"""What writes the frozen form of a model, in a precision, into an empty directory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A frozen model."""

    model: FrozenModel
    existed: bool
    """It was there and intact."""


def prepare(store: ModelStore, reference: SentenceTransformerEncoder, freeze: Freeze = freeze_apart) -> Prepared:
    """Freezes a model, unless that has been done. Raises NotFreezable and ModelUnavailable."""
    facts = ModelFacts(
        name=reference.name,
        identity=reference.identity,
        precision=reference.precision,
        dim=reference.dim,
        max_tokens=reference.max_tokens,
    )
    model, existed = store.prepare(facts, lambda directory: freeze(reference.files, directory, reference.precision))
    return Prepared(model=model, existed=existed)


def frozen(store: ModelStore, identity: str, name: str) -> FrozenEncoder:
    """The encoder, for many texts, of a model that has been frozen. Raises ModelUnavailable if it has not, or is
    damaged.
    """
    return FrozenEncoder(store.verified(identity).directory, name=name, identity=identity, share=LARGE_SHARE)


def fastest(
    store: ModelStore, encoder: Encoder, fall_back: Callable[[str], None], freeze: Freeze = freeze_apart
) -> Encoder:
    """The frozen form of `encoder`, prepared if need be; else itself, after `fall_back` was told why. Where there is a
    GPU sentence-transformers runs on it instead of either, and gives the same vectors.

    Raises ModelUnavailable where the precision asked for is had from the frozen form alone.
    """
    if not isinstance(encoder, SentenceTransformerEncoder):
        return encoder
    fastest_here: Encoder = encoder
    try:
        prepare(store, encoder, freeze)
        fastest_here = frozen(store, encoder.identity, encoder.name)
    except (NotFreezable, ModelUnavailable) as error:
        if encoder.precision != FP32:
            raise ModelUnavailable(
                f"the model {encoder.name!r} cannot be had in {encoder.precision}: {error}", model=encoder.name
            ) from error
        logger.warning("model %s is computed by sentence-transformers: %s", encoder.name, error)
        fall_back(str(error))
    if encoder.precision == FP32 and gpu.has_gpu() and gpu.torch_has_gpu():
        try:
            return gpu.on_gpu(fastest_here, encoder)
        except Exception as error:  # whatever torch makes of the driver, or of what others have left of the memory
            logger.warning("model %s stays off the GPU: %s", encoder.name, error)
    return fastest_here
