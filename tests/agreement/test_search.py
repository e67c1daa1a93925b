"""Search against an oracle that scores every passage in float64, however candidates are found."""

import dataclasses
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.fusion import Candidate
from rag_papers.retrieval.graph import Graph, build_graph
from rag_papers.retrieval.quantization import quantize
from rag_papers.retrieval.search import search
from rag_papers.retrieval.vectors import VectorSearch
from tests.retrieval.vectors import clustered

DIM = 24
WORDS = [f"word{number}" for number in range(300)]
pairs = st.sampled_from([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.7, 0.3), (1000.0, 1e-3), (1e-3, 1000.0)])


@dataclasses.dataclass(frozen=True)
class Index:
    bm25: Bm25
    vector_search: VectorSearch
    rows: npt.NDArray[np.float32]


def index_of(count: int, seed: int, distinct: int | None = None) -> Index:
    """Passages of a few words each, rare and frequent ones; only `distinct` different ones if that is given."""
    random = np.random.default_rng(seed)
    rows = clustered(count, DIM, seed)
    words = [[WORDS[min(299, int(rank))] for rank in random.geometric(0.02, 12)] for _ in range(count)]
    if distinct is not None:
        of = random.integers(0, min(distinct, count), count)
        rows, words = rows[of], [words[number] for number in of]
    return Index(Bm25(fit(words), count), VectorSearch(rows, quantize(rows)), rows)


def queries(count: int, seed: int) -> list[tuple[str, npt.NDArray[np.float32]]]:
    random = np.random.default_rng(seed)
    texts = [" ".join(WORDS[min(299, int(rank))] for rank in random.geometric(0.02, 4)) for _ in range(count)]
    return list(zip(texts, clustered(count, DIM, seed + 1000), strict=True))


def oracle(
    index: Index, text: str, vector: npt.NDArray[np.float32], w_bm25: float, w_vector: float, kept: set[int]
) -> list[Candidate]:
    """All of `kept`, ranked by scores that are computed passage by passage."""
    words = text.split()
    bm25 = index.bm25.scores(words).tolist()
    delta = 1.0 if w_vector else 0.0  # beside the vectors it is BM25+ that counts
    lexical = index.bm25.scores(words, delta=delta).tolist()
    scale = max(index.bm25.bound(words, delta=delta), *lexical) or 1.0
    total = w_bm25 + w_vector
    ranked = []
    for position in kept:
        own = index.vector_search.canonical(vector, np.array([position]))[0] if w_vector else 0.0
        score = lexical[position] * (w_bm25 / total / scale) if w_bm25 else 0.0
        if w_vector:
            score = score + max(0.0, own) * (w_vector / total)
        if w_vector or bm25[position]:
            ranked.append(Candidate(position, min(1.0, score), bm25[position] if w_bm25 else 0.0, float(own)))
    return sorted(ranked, key=lambda candidate: (-candidate.score, candidate.position))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 700), st.none() | st.integers(1, 5), st.integers(0, 99), pairs, st.integers(1, 800), st.data())
def test_every_ranking_is_the_oracle_s(
    count: int, distinct: int | None, seed: int, pair: tuple[float, float], top_k: int, data: st.DataObject
) -> None:
    index = index_of(count, seed, distinct)
    ((text, vector),) = queries(1, seed)
    among = data.draw(st.none() | st.sets(st.integers(0, count - 1), max_size=count))
    found = search(
        index, text, vector, bm25_weight=pair[0], vector_weight=pair[1], top_k=top_k,
        among=None if among is None else np.array(sorted(among), np.int64),
    )  # fmt: skip
    assert found == oracle(index, text, vector, *pair, set(range(count)) if among is None else among)[:top_k]


@pytest.mark.parametrize("pair", [(0.0, 1.0), (0.5, 0.5)])
def test_no_bit_changes_where_many_ask_at_once(pair: tuple[float, float]) -> None:
    index = index_of(20_000, 1, distinct=9000)
    asked = queries(60, 2)
    options = {"bm25_weight": pair[0], "vector_weight": pair[1], "top_k": 25}
    alone = [search(index, text, vector, **options) for text, vector in asked]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            assert list(pool.map(lambda query: search(index, *query, **options), asked)) == alone


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index with a graph."""
    index = index_of(12_000, 7, distinct=11_000)
    path = tmp_path_factory.mktemp("linked") / "graph"
    built = build_graph(index.rows, path, lambda done: None)
    with path.open("rb") as file:
        index.vector_search.use(Graph(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), built))
    return index


@pytest.mark.parametrize("top_k", [1, 10, 100])
@pytest.mark.parametrize("pair", [(0.0, 1.0), (0.5, 0.5), (0.7, 0.3), (0.02, 0.98), (0.98, 0.02)])
def test_the_approximate_index_changes_almost_no_ranking(linked: Index, pair: tuple[float, float], top_k: int) -> None:
    options = {"bm25_weight": pair[0], "vector_weight": pair[1], "top_k": top_k}
    found = wanted = equal = 0
    for text, vector in queries(60, 3):
        exact = search(linked, text, vector, **options)
        approximate = search(linked, text, vector, exact=False, **options)
        assert len(approximate) == len(exact)
        found += len(set(exact) & set(approximate))  # with all their scores
        wanted += len(exact)
        equal += exact == approximate
    assert found >= 0.99 * wanted
    assert equal >= 0.9 * 60


def test_the_approximate_index_answers_equally_where_many_ask_at_once(linked: Index) -> None:
    asked = queries(40, 4)
    options = {"bm25_weight": 0.5, "vector_weight": 0.5, "top_k": 10, "exact": False}
    alone = [search(linked, text, vector, **options) for text, vector in asked]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: search(linked, *query, **options), asked)) == alone


@pytest.mark.parametrize("pair", [(0.0, 1.0), (0.5, 0.5)])
def test_with_the_approximate_index_too_a_filtered_ranking_is_exact(linked: Index, pair: tuple[float, float]) -> None:
    options = {"bm25_weight": pair[0], "vector_weight": pair[1], "top_k": 20}
    for number, (text, vector) in enumerate(queries(20, 5)):
        among = np.flatnonzero(np.random.default_rng(number).integers(0, 1 + 40 * (number % 2), 12_000) == 0)
        exact = search(linked, text, vector, among=among, **options)
        assert search(linked, text, vector, among=among, exact=False, **options) == exact
