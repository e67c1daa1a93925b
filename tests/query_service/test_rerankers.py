"""Rerankers: their scores, the ranking that comes of them, and how a service chooses one."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from query_service.catalog import Catalog
from query_service.encoders import CallVectors, Encoders
from query_service.evidence import Coverage, RankedPassage, sentences_of
from query_service.question import Question, detect
from query_service.rerankers import BUILT_IN, NAMES, Rerankers, is_reranker
from query_service.rerankers.base import Reranker, Retrieved, rerank
from query_service.stop import Stop
from rag_papers.errors import DeadlineExceeded, InvalidRequest, ModelUnavailable
from rag_papers.persist.caching import BYPASS
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import OpenIndex
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.search import search
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused

QUESTION = "What is dropout?"
QUESTIONS = [
    QUESTION,
    "batch normalization of a layer",
    "labelled data",
    "Which volcano erupted?",
    "the",
    "task " * 900,
]
WORDS = "[PAD] [UNK] [CLS] [SEP] dropout batch normalization layer transfer learning units task data training".split()


def make_cross_encoder(directory: Path, *, seed: int = 0, outputs: int = 1) -> Path:
    """A BERT of random weights and a few words, as it would be downloaded."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=outputs, initializer_range=1.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(directory)
    assert (directory / "model.safetensors").is_file()
    return directory


def outputs_of(directory: Path, query: str, texts: Sequence[str]) -> list[float]:
    """What the model says of each pair alone, without sentence-transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    with torch.no_grad():
        pairs = [tokenizer(query, text, truncation=True, max_length=64, return_tensors="pt") for text in texts]
        return [float(model(**pair).logits) for pair in pairs]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=[*BUILT_IN, "cross-encoder"])
def reranker(request: pytest.FixtureRequest, model: Path) -> Reranker:
    return Rerankers().of(f"cross-encoder:{model}" if request.param == "cross-encoder" else request.param)


@pytest.fixture
def retrieve(library: Service) -> Iterator[Callable[..., Retrieved]]:
    """Retrieves all passages of the library for a question."""
    store = SqliteStore(library.paths.cache_db)
    index: OpenIndex = Catalog(Corpora(library.paths.corpora), library.paths.indexes).find().index

    def retrieve(text: str = QUESTION, *, with_vectors: bool = True, stop: Stop | None = None) -> Retrieved:
        stop = stop or Stop()
        vectors = (
            CallVectors(Encoders(store, ModelStore(library.paths.models)), index.manifest, BYPASS, Stop())
            if with_vectors
            else None
        )
        weight = 0.5 if vectors else 0.0
        vector = vectors.query(text) if vectors else None
        found = search(index, text, vector, bm25_weight=0.5, vector_weight=weight, top_k=100)
        question = Question(text=text, intent=detect(text))
        passages = []
        for candidate in found:
            record = index.passage(candidate.position)
            sentences = sentences_of(record)
            passages.append(
                RankedPassage(candidate=candidate, record=record, score=candidate.score, sentences=sentences)
            )
        return Retrieved(
            question=question,
            passages=passages,
            coverage=Coverage(question.terms, index.bm25.idf),
            vectors=vectors,
            stop=stop,
        )

    yield retrieve
    store.close()


def positions(passages: Sequence[RankedPassage]) -> list[int]:
    return [passage.candidate.position for passage in passages]


@pytest.fixture
def cases(retrieve: Callable[..., Retrieved]) -> list[Retrieved]:
    return [retrieve(query, with_vectors=with_vectors) for query in QUESTIONS for with_vectors in (True, False)]


class TestEveryReranker:
    def test_scores_every_passage_from_0_to_1(self, reranker: Reranker, cases: list[Retrieved]) -> None:
        for retrieved in cases:
            scores = reranker.scores(retrieved)
            assert len(scores) == len(retrieved.passages)
            assert all(0 <= score <= 1 for score in scores)

    def test_ranks_the_same_in_whatever_order_passages_come(self, reranker: Reranker, cases: list[Retrieved]) -> None:
        generator = np.random.default_rng(0)
        for retrieved in cases:
            ranked = rerank(reranker, retrieved)
            for _ in range(3):
                order = generator.permutation(len(retrieved.passages))
                shuffled = [retrieved.passages[number] for number in order]
                again = rerank(reranker, dataclasses.replace(retrieved, passages=shuffled))
                assert positions(again) == positions(ranked)
                assert [passage.score for passage in again] == [passage.score for passage in ranked]

    def test_ranks_best_first_and_ties_by_position(self, reranker: Reranker, cases: list[Retrieved]) -> None:
        for retrieved in cases:
            ranked = rerank(reranker, retrieved)
            assert sorted(positions(ranked)) == sorted(positions(retrieved.passages))
            keys = [(-passage.score, passage.candidate.position) for passage in ranked]
            assert keys == sorted(keys)

    def test_scores_a_passage_whatever_else_was_found(self, reranker: Reranker, cases: list[Retrieved]) -> None:
        for retrieved in cases:
            for passage, score in zip(retrieved.passages, reranker.scores(retrieved), strict=True):
                (alone,) = reranker.scores(dataclasses.replace(retrieved, passages=[passage]))
                assert alone == pytest.approx(score, abs=1e-5)


def test_identities_differ(model: Path, tmp_path: Path) -> None:
    rerankers = Rerankers()
    other = make_cross_encoder(tmp_path / "other", seed=1)
    names = [*BUILT_IN, f"cross-encoder:{model}", f"cross-encoder:{other}"]
    assert len({rerankers.of(name).identity for name in names}) == len(names)


def test_none_keeps_the_fused_order(retrieve: Callable[..., Retrieved]) -> None:
    for query in QUESTIONS:
        retrieved = retrieve(query)
        ranked = rerank(BUILT_IN["none"], retrieved)
        assert positions(ranked) == positions(retrieved.passages)
        assert [passage.score for passage in ranked] == [passage.score for passage in retrieved.passages]


def test_the_best_sentence_is_found_among_others(service: Service) -> None:
    """Two passages of the same words: in one of them the words of the question share a sentence."""
    filler = [f"Some {word} is described here in a few plain words." for word in ("paper", "graph", "table", "proof")]
    scattered = ["The catalyst is old, a catalyst.", *filler[:2], "A yield is a yield.", "One solvent was used."]
    together = ["The catalyst is old.", *filler, "In this solvent the yield of the catalyst is low.", "One was used."]
    documents = {"a.txt": " ".join(scattered), "b.txt": " ".join(together)}
    service.publish("chemistry", documents)
    query = "Which solvent, which catalyst, which yield?"
    for weight in (0.0, 0.5):
        config = pb.AskConfig(vector_weight=weight, vector_weight_on_repair=weight)
        response = service.ask(query, config=config)
        assert response.sources[0].passage.document_id == "b.txt"
        assert "In this solvent" in response.answer
        config.reranker = "none"
        assert service.ask(query, config=config).sources[0].passage.document_id == "a.txt"


class TestCrossEncoders:
    def test_rank_as_their_model_says(self, model: Path, retrieve: Callable[..., Retrieved]) -> None:
        reranker = Rerankers().of(f"cross-encoder:{model}")
        retrieved = retrieve(QUESTION)
        records = [passage.record for passage in retrieved.passages]
        outputs = outputs_of(model, QUESTION, [f"{record.title}\n{record.text}" for record in records])
        expected = [1 / (1 + np.exp(-output)) for output in outputs]
        np.testing.assert_allclose(reranker.scores(retrieved), expected, atol=1e-5)
        ranked = positions(rerank(reranker, retrieved))
        assert ranked == [positions(retrieved.passages)[number] for number in np.argsort(-np.array(expected))]
        assert ranked != positions(retrieved.passages)

    def test_rank_the_sources_of_an_answer(self, library: Service, model: Path) -> None:
        config = pb.AskConfig(reranker=f"cross-encoder:{model}", prune_min_overlap=0)
        response = library.ask(QUESTION, config=config)
        assert response.config.reranker == f"cross-encoder:{model}"
        passages = [source.passage for source in response.sources]
        outputs = outputs_of(model, QUESTION, [f"{passage.title}\n{passage.text}" for passage in passages])
        scores = [source.score for source in response.sources]
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array(outputs))), atol=1e-5)
        assert scores == sorted(scores, reverse=True)
        assert library.ask(QUESTION, config=config).cache.answer_hit

    def test_that_changed_are_other_ones_to_the_answer_cache(
        self, serve: Callable[..., Service], tmp_path: Path
    ) -> None:
        directory = tmp_path / "model"
        name = f"cross-encoder:{make_cross_encoder(directory)}"
        first = serve(reranker=name)
        first.publish("library", LIBRARY)
        assert first.ask(QUESTION).config.reranker == name
        make_cross_encoder(directory, seed=1)
        second = serve(reranker=name)
        assert not second.ask(QUESTION).cache.answer_hit
        assert second.ask(QUESTION).cache.answer_hit

    def test_stop_between_batches(self, model: Path, retrieve: Callable[..., Retrieved]) -> None:
        stop = Stop()
        retrieved = retrieve(QUESTION, stop=stop)
        stop.client_left()
        with pytest.raises(DeadlineExceeded):
            Rerankers().of(f"cross-encoder:{model}").scores(retrieved)

    def test_without_safe_weights_are_refused(self, tmp_path: Path) -> None:
        directory = make_cross_encoder(tmp_path / "model")
        (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
        with pytest.raises(ModelUnavailable, match=r"has no model\.safetensors"):
            Rerankers().of(f"cross-encoder:{directory}")

    def test_with_several_outputs_are_refused(self, library: Service, tmp_path: Path) -> None:
        directory = make_cross_encoder(tmp_path / "model", outputs=3)
        config = pb.AskConfig(reranker=f"cross-encoder:{directory}")
        _, error = refused(lambda: library.ask(QUESTION, config=config))
        assert error.reason == "MODEL_UNAVAILABLE"
        assert "3 outputs" in error.message

    def test_with_damaged_weights_are_refused(self, library: Service, tmp_path: Path) -> None:
        directory = make_cross_encoder(tmp_path / "model")
        (directory / "model.safetensors").write_bytes(b"junk")
        config = pb.AskConfig(reranker=f"cross-encoder:{directory}")
        _, error = refused(lambda: library.ask(QUESTION, config=config))
        assert error.reason == "MODEL_UNAVAILABLE"
        assert library.ask(QUESTION).accepted

    def test_are_opened_once_and_two_stay_open(self, model: Path, tmp_path: Path) -> None:
        rerankers = Rerankers()
        names = [f"cross-encoder:{model}{'/' * number}" for number in range(3)]
        first = rerankers.of(names[0])
        assert rerankers.of(names[0]) is first
        second = rerankers.of(names[1])
        assert rerankers.of(names[0]) is first
        rerankers.of(names[2])
        assert rerankers.of(names[0]) is first
        assert rerankers.of(names[1]) is not second


class TestNames:
    def test_are_those_of_the_setting(self) -> None:
        for name in (*BUILT_IN, "cross-encoder:x"):
            assert is_reranker(name)
            assert Settings.load({"reranker": name}).reranker == name
        for name in ("oracle", "cross-encoder:", "NONE", "cross-encoder", " none"):
            assert not is_reranker(name)
            with pytest.raises(InvalidRequest):
                Settings.load({"reranker": name})
        assert Settings.load({}, {}).reranker == "best-sentence"

    def test_are_in_the_contract(self) -> None:
        contract = Path("protos/rag_papers/v1/query.proto").read_text()
        assert all(f'"{name}"' in contract for name in NAMES)

    def test_the_setting_is_the_default_and_a_request_overrules_it(self, serve: Callable[..., Service]) -> None:
        service = serve(reranker="none")
        service.publish("library", LIBRARY)
        assert service.plan(QUESTION).config.reranker == "none"
        given = pb.AskConfig(reranker="best-sentence")
        assert service.plan(QUESTION, config=given).config.reranker == "best-sentence"
        fused = service.ask(QUESTION)
        found = service.search(QUESTION, top_k=12)
        scores = {source.passage.passage_id: source.score for source in found.sources}
        assert fused.config.reranker == "none"
        assert all(source.score == scores[source.passage.passage_id] for source in fused.sources)
        other = service.ask(QUESTION, config=given)
        assert not other.cache.answer_hit
        assert [source.score for source in other.sources] != [source.score for source in fused.sources]


WITHOUT_LIBRARY = """
import sys
for name in ("torch", "sentence_transformers", "transformers"):
    sys.modules[name] = None  # an import of it fails

from pathlib import Path
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused

service = Service(Settings(data_dir=Path(sys.argv[1]), model="hashing-64"))
try:
    service.publish("library", LIBRARY)
    print(service.ask("What is dropout?").config.reranker)
    config = pb.AskConfig(reranker=f"cross-encoder:{sys.argv[2]}")
    print(refused(lambda: service.ask("What is dropout?", config=config))[1].message)
finally:
    service.stop()
"""


def test_the_default_needs_no_sentence_transformers(tmp_path: Path, model: Path) -> None:
    command: list[Any] = [sys.executable, "-c", WITHOUT_LIBRARY, tmp_path, model]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    default, message = result.stdout.splitlines()
    assert default == "best-sentence"
    assert "pip install 'rag-papers[server]'" in message
