"""Entailment by name: what the model says, and what the verifier makes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, DraftSentence
from query_service.stop import Stop
from query_service.verification.entailment import EntailmentByName, EntailmentModel
from rag_papers.errors import DeadlineExceeded, InvalidRequest, ModelUnavailable
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused
from tests.query_service.test_rerankers import make_cross_encoder

LABELS = ("contradiction", "entailment", "neutral")
PAIRS = [("dropout units", "dropout"), ("batch normalization", "transfer learning"), ("task", "task data " * 50)] * 4
QUESTION = "What is transfer learning?"


def make(directory: Path, says: str = "", labels: Sequence[str] = LABELS) -> Path:
    """A model of random weights; or one that says the same of everything, with near certainty."""
    import torch
    from transformers import BertForSequenceClassification

    make_cross_encoder(directory, outputs=len(labels))
    model = BertForSequenceClassification.from_pretrained(directory)
    model.config.id2label = dict(enumerate(labels))
    if says:
        with torch.no_grad():
            model.classifier.weight.fill_(0.0)
            model.classifier.bias.copy_(torch.tensor([9.0 * (label == says) for label in labels]))
    model.save_pretrained(directory)
    return directory


def model_of(directory: Path) -> EntailmentModel:
    model = EntailmentByName(f"cross-encoder:{directory}").model()
    assert model
    return model


def expected(directory: Path) -> list[tuple[float, float]]:
    """What the model says of each pair alone, without sentence-transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    found = []
    with torch.no_grad():
        for pair in PAIRS:
            logits = model(**tokenizer(*pair, truncation=True, max_length=64, return_tensors="pt")).logits[0]
            shares = logits.double().softmax(0).tolist()
            found.append((shares[1], shares[0]))
    return found


def test_the_probabilities_are_the_models_own(tmp_path: Path) -> None:
    directory = make(tmp_path / "model")
    found = model_of(directory).judge(PAIRS, Stop())
    assert len(set(found)) == 3
    for pair, wanted in zip(found, expected(directory), strict=True):
        assert pair == pytest.approx(wanted, abs=1e-5)


def test_labels_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    directory = make(tmp_path / "model", "ENTAILMENT", ("Neutral", "Contradiction", "ENTAILMENT"))
    [(entailed, contradicted)] = model_of(directory).judge([("a", "b")], Stop())
    assert entailed > 0.99 > 0.01 > contradicted


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1", "LABEL_2"), ("entailment", "not_entailment"), ("score",)])
def test_a_model_of_something_else_is_refused(tmp_path: Path, labels: Sequence[str]) -> None:
    with pytest.raises(ModelUnavailable, match=f"has the labels {', '.join(labels)}"):
        model_of(make(tmp_path / "model", labels=labels)).judge([("a", "b")], Stop())


def test_it_stops_between_batches(tmp_path: Path) -> None:
    stop = Stop()
    judge = model_of(make(tmp_path / "model")).for_call(stop).judge
    assert len(judge(PAIRS)) == len(PAIRS)
    stop.client_left()
    with pytest.raises(DeadlineExceeded):
        judge(PAIRS)


def test_names() -> None:
    assert EntailmentByName("none").model() is None
    assert Settings.load({}, {}).entailment == "none"
    for name in ("cross-encoder:", "NONE", "best-sentence", "x"):
        with pytest.raises(InvalidRequest):
            Settings.load({"entailment": name})
    with pytest.raises(ModelUnavailable, match=r"the entailment model '/nowhere' is not here.*hf download"):
        EntailmentByName("cross-encoder:/nowhere").model()


@pytest.fixture
def says(serve: Callable[..., Service], tmp_path: Path) -> Callable[[str], Service]:
    """A service whose entailment model always says the same; none if it is to say nothing."""

    def start(label: str) -> Service:
        name = f"cross-encoder:{make(tmp_path / label, label)}" if label else "none"
        service = serve(entailment=name)
        service.publish("library", LIBRARY)
        return service

    return start


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch) -> pb.AskConfig:
    """Settings by which the answer is a free paraphrase that the rules do not take for supported."""

    class Claiming:
        identity = "claiming-1"

        def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
            return [DraftSentence(text="Transfer learning reuses what a source task taught.", citations=())]

    monkeypatch.setitem(GENERATORS, "claiming", lambda settings: Claiming())
    return pb.AskConfig(generator="claiming", max_repairs=0)


def test_a_clash_is_a_verdict_and_a_paraphrase_is_supported_where_there_is_a_model(
    says: Callable[[str], Service], claim: pb.AskConfig
) -> None:
    ruled, entailed, contradicted, neutral = (
        says(label).ask(QUESTION, config=claim) for label in ("", "entailment", "contradiction", "neutral")
    )
    assert not ruled.accepted and pb.ANSWER_ISSUE_CONTRADICTED not in ruled.issues
    assert entailed.sentences[0].supported and pb.ANSWER_ISSUE_UNSUPPORTED not in entailed.issues
    assert pb.ANSWER_ISSUE_CONTRADICTED in contradicted.issues and not contradicted.accepted
    assert not neutral.sentences[0].supported and pb.ANSWER_ISSUE_CONTRADICTED not in neutral.issues
    # Each model has answers of its own in the cache that they share.
    assert not any(response.cache.answer_hit for response in (ruled, entailed, contradicted, neutral))


def test_an_answer_is_cached_under_its_model(says: Callable[[str], Service]) -> None:
    service = says("entailment")
    assert [service.ask(QUESTION).cache.answer_hit for _ in range(3)] == [False, True, True]


def test_a_model_that_is_not_here_is_refused(serve: Callable[..., Service]) -> None:
    service = serve(entailment="cross-encoder:/nowhere")
    service.publish("library", LIBRARY)
    _, error = refused(lambda: service.ask(QUESTION))
    assert error.reason == "MODEL_UNAVAILABLE"
