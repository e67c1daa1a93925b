"""The process that freezes a model: what it loads for that is gone when it ends.

Run as `python -m ingest_service.freezing`.
"""

import dataclasses
import sys
from pathlib import Path

from ingest_service.talking import begin, end
from rag_papers.errors import ModelUnavailable
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import prepare
from rag_papers.retrieval.encoders import SentenceTransformerEncoder
from rag_papers.retrieval.encoders.freezing import NotFreezable
from rag_papers.retrieval.models import locate


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreezeTask:
    """All that the process needs to know."""

    model_name: str
    model_download: bool
    precision: str
    models: str
    """Where frozen models lie, an absolute path."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frozen:
    """How it ended when the model is frozen."""

    identity: str
    existed: bool
    """It was there and intact."""


def freeze(task: FreezeTask) -> Frozen:
    """Freezes the model. Raises ModelUnavailable."""
    encoder = SentenceTransformerEncoder(
        locate(task.model_name, download=task.model_download), precision=task.precision
    )
    try:
        prepared = prepare(ModelStore(Path(task.models)), encoder)
    except NotFreezable as error:
        raise ModelUnavailable(
            f"the model {task.model_name!r} cannot be frozen: {error}; sentence-transformers computes it instead",
            model=task.model_name,
        ) from error
    return Frozen(identity=encoder.identity, existed=prepared.existed)


def main() -> int:
    """Runs one task."""
    task = FreezeTask(**begin())
    return end(lambda: dataclasses.asdict(freeze(task)))


if __name__ == "__main__":
    sys.exit(main())
