"""The published versions, as administrators see them."""

import logging

from rag_papers.errors import RagError
from rag_papers.persist.corpora import Corpora, Corpus, Version, named, select
from rag_papers.persist.index_store import IndexInfo, read_manifest, verify
from rag_papers.persist.paths import DataPaths

logger = logging.getLogger(__name__)


class Catalog:
    """Reads pointers and manifests; blocking."""

    def __init__(self, paths: DataPaths) -> None:
        self._paths = paths
        self._corpora = Corpora(paths.corpora)

    def list(self, corpus: str) -> list[IndexInfo]:
        """Every version of `corpus`, or of all if it is empty: by corpus name, newest first. Raises CorpusNotFound."""
        corpora = self._corpora.all()
        chosen = [named(corpora, corpus)] if corpus else [corpora[name] for name in sorted(corpora)]
        found: list[IndexInfo] = []
        for item in chosen:
            for version in item.versions():
                try:
                    found.append(self._info(item, version))
                except RagError as error:
                    logger.warning("version %s of %r left out of the list: %s", version.corpus_id, item.name, error)
        return found

    def get(self, corpus: str, corpus_id: str) -> IndexInfo:
        """One version; unset arguments as in GetIndexRequest. Raises NoIndex, CorpusNotFound, IndexNotFound or what is
        wrong with the index.
        """
        return self._info(*select(self._corpora.all(), corpus, corpus_id))

    def verified(self, corpus: str, corpus_id: str) -> IndexInfo:
        """One version, every file of which has been read and is intact; arguments and errors as those of `get`."""
        found = self.get(corpus, corpus_id)
        verify(self._paths.indexes / found.corpus_id)
        return found

    def _info(self, corpus: Corpus, version: Version) -> IndexInfo:
        manifest = read_manifest(self._paths.indexes / version.corpus_id)
        return IndexInfo.of(
            manifest,
            corpus=corpus.name,
            active=version.corpus_id == corpus.active.corpus_id,
            create_time=version.publish_time,
        )
