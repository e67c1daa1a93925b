"""Filtered search against an oracle that ranks everything and then drops what does not qualify."""

import dataclasses
import unicodedata

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.filtering import Documents, Filter
from rag_papers.retrieval.quantization import quantize
from rag_papers.retrieval.search import search
from rag_papers.retrieval.vectors import VectorSearch

DIM = 8
words = st.sampled_from(["attention", "dropout", "layer", "unit", "the"])
# Few letters, so that texts share beginnings; composed and decomposed ones, and one that sorts behind all others.
names = st.text(st.sampled_from("ab/\u00e9e\u0301\U0010ffff"), max_size=5)
years = st.sampled_from([0, 1000, 1999, 2000, 2001, 9999])
weights = st.sampled_from([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.7, 0.3), (1000.0, 1e-3)])


@dataclasses.dataclass(frozen=True)
class Document:
    name: str
    path: str
    year: int
    passages: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Index:
    bm25: Bm25
    vectors: npt.NDArray[np.float32]

    @property
    def vector_search(self) -> VectorSearch:
        return VectorSearch(self.vectors, quantize(self.vectors))


documents = st.lists(
    st.builds(
        Document, names, names, years, st.lists(st.lists(words, max_size=3).map(" ".join), max_size=6).map(tuple)
    ),
    min_size=1,
    max_size=12,
)
filters = st.builds(
    Filter,
    document_ids=st.lists(names, max_size=4).map(tuple),
    path_prefixes=st.lists(names, max_size=3).map(tuple),
    first_year=st.none() | years,
    last_year=st.none() | years,
)


def qualifies(document: Document, wanted: Filter) -> bool:
    if wanted.first_year is not None and (document.year == 0 or document.year < wanted.first_year):
        return False
    if wanted.last_year is not None and (document.year == 0 or document.year > wanted.last_year):
        return False
    name, path = (unicodedata.normalize("NFC", text) for text in (document.name, document.path))
    return (not wanted.document_ids or name in wanted.document_ids) and (
        not wanted.path_prefixes or any(path.startswith(prefix) for prefix in wanted.path_prefixes)
    )


def arranged(papers: list[Document]) -> Documents:
    return Documents(
        ids=[paper.name for paper in papers],
        paths=[paper.path for paper in papers],
        years=[paper.year for paper in papers],
        passage_counts=[len(paper.passages) for paper in papers],
    )


def index_of(passages: list[str], kinds: int, seed: int) -> Index:
    """Vectors are of a few kinds, so that passages tie."""
    random = np.random.default_rng(seed)
    different = random.standard_normal((kinds, DIM), np.float32)
    different /= np.linalg.norm(different, axis=1, keepdims=True)
    vectors = different[random.integers(0, kinds, len(passages))]
    return Index(Bm25(fit([terms(passage) for passage in passages]), len(passages)), vectors)


@settings(deadline=None, max_examples=300)
@given(documents, filters)
def test_the_positions_are_those_of_the_documents_that_qualify(papers: list[Document], wanted: Filter) -> None:
    owners = [paper for paper in papers for _ in paper.passages]
    expected = [position for position, paper in enumerate(owners) if qualifies(paper, wanted)]
    assert arranged(papers).positions(wanted).tolist() == expected


@settings(deadline=None, max_examples=300)
@given(
    documents, filters, st.lists(words, max_size=3).map(" ".join), weights, st.integers(1, 80), st.integers(1, 4),
    st.integers(0, 99),
)  # fmt: skip
def test_a_filtered_ranking_is_the_whole_one_without_the_rest(
    papers: list[Document], wanted: Filter, query: str, pair: tuple[float, float], top_k: int, kinds: int, seed: int
) -> None:
    passages = [passage for paper in papers for passage in paper.passages]
    owners = [paper for paper in papers for _ in paper.passages]
    index = index_of(passages, kinds, seed)
    bm25_weight, vector_weight = pair
    vector = index_of([query], 1, seed + 1).vectors[0]
    options = {"bm25_weight": bm25_weight, "vector_weight": vector_weight}
    whole = search(index, query, vector, top_k=len(passages) + 1, **options)
    found = search(index, query, vector, top_k=top_k, among=arranged(papers).positions(wanted), **options)
    assert found == [candidate for candidate in whole if qualifies(owners[candidate.position], wanted)][:top_k]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 50), weights)
def test_the_same_holds_for_more_passages_than_a_block(seed: int, every: int, pair: tuple[float, float]) -> None:
    passages = ["attention layer", "dropout", "the unit of a layer"] * 400
    index = index_of(passages, 40, seed)
    among = np.flatnonzero(np.random.default_rng(seed).integers(0, every, len(passages)) == 0)
    between = index.vectors[0] + index.vectors[1]
    vector = between / np.linalg.norm(between)
    options = {"bm25_weight": pair[0], "vector_weight": pair[1]}
    whole = search(index, "dropout layer", vector, top_k=len(passages), **options)
    kept = set(among.tolist())
    for top_k in (1, 7, 1000):
        found = search(index, "dropout layer", vector, top_k=top_k, among=among, **options)
        assert found == [candidate for candidate in whole if candidate.position in kept][:top_k]
