"""What Ask answers, and with which evidence."""

import pytest

from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, check_citations, refused

FIRST = ["retrieve", "rerank", "prune", "contextualize", "generate", "verify"]
REPAIR = ["repair", *FIRST]


def test_definition_is_answered_with_the_bytes_that_say_so(library: Service) -> None:
    response = library.ask("What is transfer learning?")
    assert response.status == pb.ANSWER_STATUS_ANSWERED
    assert response.intent == "definition"
    assert response.answer.startswith("Transfer learning is the use of knowledge")
    assert response.accepted
    assert response.score >= response.config.accept_threshold
    assert list(response.path) == FIRST
    assert not response.repair_used
    assert all(sentence.supported for sentence in response.sentences)
    assert response.abstain_reason == pb.ABSTAIN_REASON_UNSPECIFIED
    check_citations(response, LIBRARY)


def test_comparison_names_both_sides(library: Service) -> None:
    response = library.ask("What is the difference between dropout and batch normalization?")
    assert response.intent == "comparison"
    assert response.accepted
    for sentence in response.sentences:
        assert "dropout" in sentence.text.lower()
        assert "batch normalization" in sentence.text.lower()
    check_citations(response, LIBRARY)


def test_how_to_is_answered_by_instructions(library: Service) -> None:
    response = library.ask("How do I apply dropout?")
    assert response.intent == "how_to"
    assert response.answer.startswith("To apply dropout, keep each hidden unit with a probability of 0.5.")
    assert "Unlike" not in response.answer


def test_the_response_says_how_it_came_about(library: Service) -> None:
    response = library.ask("What is dropout?")
    assert response.corpus == "library"
    assert response.generator.startswith("extractive")
    assert len(response.trace_id) == 16
    assert set(response.timings_ms) == {*FIRST, "total"}
    assert response.timings_ms["total"] >= max(response.timings_ms[step] for step in FIRST) >= 0
    assert [source.rank for source in response.sources] == list(range(1, len(response.sources) + 1))
    scores = [source.score for source in response.sources]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert {field.name for field, _ in response.config.ListFields()} == set(pb.AskConfig.DESCRIPTOR.fields_by_name)


def test_given_intent_is_kept(library: Service) -> None:
    assert library.ask("What is dropout?", intent="summarization").intent == "summarization"
    assert library.ask("What is dropout?", intent="unknown").intent == "unknown"


def test_question_from_elsewhere_is_not_answered(library: Service) -> None:
    response = library.ask("Which volcano erupted in Iceland?")
    assert response.status == pb.ANSWER_STATUS_ABSTAINED
    assert response.abstain_reason == pb.ABSTAIN_REASON_WEAK_EVIDENCE
    assert response.answer == "The papers do not say."
    assert not response.sentences
    assert response.score <= 0.1
    assert not response.accepted
    assert list(response.path) == FIRST + REPAIR


def test_nothing_retrieved_is_a_reason_of_its_own(library: Service) -> None:
    config = pb.AskConfig(vector_weight=0, vector_weight_on_repair=0)
    response = library.ask("Which volcano erupted in Iceland?", config=config)
    assert response.abstain_reason == pb.ABSTAIN_REASON_NOTHING_RETRIEVED
    assert not response.sources
    assert response.context_chars == 0


def test_accepted_means_the_score_reaches_the_threshold(library: Service) -> None:
    question = "How does dropout reduce overfitting of huge models?"
    free = library.ask(question, config=pb.AskConfig(accept_threshold=0, abstain_threshold=0))
    assert free.accepted
    assert free.status == pb.ANSWER_STATUS_ANSWERED
    assert list(free.path) == FIRST
    strict = library.ask(question, config=pb.AskConfig(accept_threshold=1, abstain_threshold=0))
    assert not strict.accepted
    assert strict.status == pb.ANSWER_STATUS_PARTIAL
    assert strict.answer
    assert strict.score < 1


@pytest.mark.parametrize("repairs", [0, 1, 3])
def test_an_answer_that_is_not_accepted_is_repaired_as_often_as_allowed(library: Service, repairs: int) -> None:
    config = pb.AskConfig(accept_threshold=1, max_repairs=repairs)
    question = "How does dropout reduce overfitting of huge models?"
    response = library.ask(question, config=config)
    assert list(response.path) == FIRST + repairs * REPAIR
    assert list(library.plan(question, config=config).steps) == list(response.path)


@pytest.mark.parametrize("question", ["How does dropout reduce overfitting of huge models?", "dropout volcano", "BM25"])
@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, 0.0), (0.0, 1.0)])
def test_a_repair_never_gives_a_worse_answer(library: Service, question: str, weights: tuple[float, float]) -> None:
    config = pb.AskConfig(accept_threshold=1, bm25_weight_on_repair=weights[0], vector_weight_on_repair=weights[1])
    scores = []
    for config.max_repairs in range(4):
        response = library.ask(question, config=config)
        scores.append(response.score)
        assert response.repair_used == (response.score > scores[0])
    assert scores == sorted(scores)


def test_repair_finds_what_the_first_attempt_missed(service: Service) -> None:
    # By vectors alone the short note is nearer; by words the long one has both.
    documents = {
        "short.txt": "Glaciers move downhill each day.",
        "long.txt": "Glaciers leave a moraine downhill whenever warm summers melt more ice than cold winters bring "
        "down as snow, rain or hail upon steep slopes, broad shoulders, narrow ridges, rugged peaks, hidden bowls "
        "and windy saddles far above forests, meadows, villages and roads.",
    }
    service.publish("ice", documents, model="hashing-4096")
    once = pb.AskConfig(top_k_first=1, bm25_weight=0, accept_threshold=0.9, max_repairs=0, abstain_threshold=0.3)
    first = service.ask("glaciers downhill moraine", config=once)
    assert (first.status, first.answer) == (pb.ANSWER_STATUS_PARTIAL, documents["short.txt"])
    assert not first.repair_used
    once.MergeFrom(pb.AskConfig(max_repairs=2, bm25_weight_on_repair=1, vector_weight_on_repair=0))
    response = service.ask("glaciers downhill moraine", config=once)
    assert (response.status, response.answer) == (pb.ANSWER_STATUS_ANSWERED, documents["long.txt"])
    assert response.repair_used
    assert list(response.path) == FIRST + REPAIR


@pytest.mark.parametrize("limit", [1, 60, 120, 200, 4000])
def test_the_context_keeps_its_budget_exactly(library: Service, limit: int) -> None:
    for config in (pb.AskConfig(context_max_chars=limit), pb.AskConfig(prune_max_chars=limit)):
        response = library.ask("What is dropout?", config=config)
        assert response.context_chars <= limit
        assert (response.context_chars == 0) == (not response.sources)
        if response.sentences:
            assert sum(len(sentence.text) for sentence in response.sentences) <= limit


def test_a_short_sentence_is_used_where_a_better_long_one_does_not_fit(service: Service) -> None:
    documents = {
        "long.txt": "Quokka dispersal follows " + "wide and shallow " * 10 + "rivers in the wet season.",
        "short.txt": "Quokka dispersal is seasonal migration.",
    }
    service.publish("zoo", documents)
    question = "How does quokka dispersal follow rivers?"
    assert len(service.ask(question, config=pb.AskConfig(abstain_threshold=0)).sentences[0].text) > 100
    response = service.ask(question, config=pb.AskConfig(context_max_chars=50, abstain_threshold=0))
    assert response.context_chars == len(documents["short.txt"])
    assert response.answer == documents["short.txt"]


def test_no_more_passages_than_asked_for(library: Service) -> None:
    assert len(library.ask("What is dropout?", config=pb.AskConfig(rerank_top_k=1)).sources) == 1
    assert len(library.ask("What is dropout?", config=pb.AskConfig(top_k_first=1)).sources) == 1


def test_pruning_wants_at_most_as_many_words_as_the_question_has(library: Service) -> None:
    response = library.ask("What is dropout?", config=pb.AskConfig(prune_min_overlap=100))
    assert response.accepted
    assert all("dropout" in sentence.text.lower() for sentence in response.sentences)


@pytest.mark.parametrize("count", [1, 2])
def test_tiny_corpora_answer(service: Service, count: int) -> None:
    texts = {
        "water.txt": "The boiling point of water is 100 degrees Celsius.",
        "iron.txt": "Iron melts at 1538 degrees.",
    }
    documents = dict(list(texts.items())[:count])
    service.publish("tiny", documents)
    response = service.ask("What is the boiling point of water?")
    assert response.status == pb.ANSWER_STATUS_ANSWERED
    assert response.answer == texts["water.txt"]
    check_citations(response, documents)


def test_a_fact_at_the_end_of_a_long_file_is_cited_by_its_bytes(service: Service) -> None:
    filler = "\n\n".join(f"Café run {n} of the apparatus was calibrated — without incident." for n in range(900))
    documents = {"long.txt": f"{filler}\n\nNothing else happened. The zyzzyva beetle weighs 17 milligrams."}
    assert len(documents["long.txt"]) > 60_000 - 6_000
    service.publish("long", documents)
    response = service.ask("How much does the zyzzyva beetle weigh?")
    citation = response.sentences[0].citations[0]
    assert citation.quote == "The zyzzyva beetle weighs 17 milligrams."
    assert citation.end_byte == len(documents["long.txt"].encode())
    check_citations(response, documents)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("注意力机制是什么？", "前言很短。注意力机制是一种神经网络方法。"),
        ("التعلم الآلي", "مقدمة قصيرة. التعلم الآلي هو فرع من الذكاء الاصطناعي."),
        (
            "café et fatigue",
            "Début. «\u00a0Le cafe\u0301\u00a0» réduit la fatigue, d\u2019après l\u2019étude\u202f! "
            "Le café réduit la fatigue.",
        ),
        ("Where does the 🦘 hop at dawn?", "The 🦘 hops over 🌵 at dawn in the outback. 👩‍💻 wrote it down."),
    ],
)
def test_quotes_are_byte_identical_in_every_script(service: Service, question: str, text: str) -> None:
    documents = {"paper.txt": text}
    service.publish("scripts", documents)
    response = service.ask(question, config=pb.AskConfig(abstain_threshold=0.4))
    check_citations(response, documents)
    assert all(sentence.text in text for sentence in response.sentences)


def test_a_sentence_over_several_lines_is_said_on_one_and_quoted_as_it_stands(service: Service) -> None:
    documents = {"paper.txt": "Numbats are small marsupials\n  that eat termites\r\nin Australia."}
    service.publish("zoo", documents)
    response = service.ask("What are numbats?")
    assert response.answer == "Numbats are small marsupials that eat termites in Australia."
    assert response.sentences[0].citations[0].quote == documents["paper.txt"]


def test_headings_names_and_questions_are_no_answers(service: Service) -> None:
    text = (
        "# Numbats\nAuthors: A. Numbat, B. Numbat\n\n## What is a numbat?\n"
        "What is a numbat? - A numbat is a marsupial that eats termites.\n\nNumbat"
    )
    service.publish("zoo", {"paper.md": text})
    assert service.ask("What is a numbat?").answer == "A numbat is a marsupial that eats termites."


def test_a_question_that_the_papers_merely_repeat_is_not_answered(service: Service) -> None:
    service.publish("echo", {"a.txt": "What is a numbat? The numbat. A numbat."})
    assert service.ask("What is a numbat?").status != pb.ANSWER_STATUS_ANSWERED


def test_summary_of_a_paper_by_its_title(service: Service) -> None:
    paper = (
        "# The Life of Numbats\n\n"
        "These animals eat up to 20000 termites a day. They live in hollow logs in Australia.\n\n"
        "Females carry their young for six months. Clearing of forests is their main threat."
    )
    service.publish("zoo", {"numbats.md": paper, "other.txt": "Iron melts at 1538 degrees."})
    response = service.ask(
        "Summarize the life of numbats", config=pb.AskConfig(vector_weight=0, vector_weight_on_repair=0)
    )
    assert response.accepted
    assert {citation.document_id for s in response.sentences for citation in s.citations} == {"numbats.md"}
    assert len(response.sentences) >= 3


def test_no_vectors_anywhere_need_no_model(service: Service) -> None:
    service.publish("library", LIBRARY, model_name="no-such-model", model_identity="unknown")
    config = pb.AskConfig(vector_weight=0, vector_weight_on_repair=0)
    response = service.ask("What is transfer learning?", config=config)
    assert response.status == pb.ANSWER_STATUS_ANSWERED
    assert (response.cache.embed_hits, response.cache.embed_misses) == (0, 0)
    assert all(source.vector_score == 0 for source in response.sources)
    _, error = refused(lambda: service.ask("What is transfer learning?"))
    assert error.reason == "MODEL_UNAVAILABLE"


def test_a_question_longer_than_the_window_of_the_model_is_answered(library: Service) -> None:
    question = "What is transfer learning? " + "Please be brief about transfer learning. " * 80
    assert len(question.split()) > 256
    response = library.ask(question)
    assert response.cache.embed_misses > 1
    assert "Transfer learning" in response.answer
    assert response.query_parts == 2


def test_the_parts_of_a_question_are_told_whatever_the_caches_hold(library: Service) -> None:
    long = "What is transfer learning? " + "Please be brief about transfer learning. " * 80
    for query, parts in (("What is dropout?", 1), (long, 2)):
        assert [library.ask(query).query_parts for _ in range(2)] == [parts, parts]
        assert [library.search(query).query_parts for _ in range(2)] == [parts, parts]
        assert library.search(query).cache.retrieval_hit
        assert library.search(query, vector_weight=0).query_parts == 0


@pytest.mark.parametrize("question", ["???", "🦘", "what is it", "a", "dropout", "\u200f؟"])
def test_odd_questions_are_calls_that_succeed(library: Service, question: str) -> None:
    assert library.ask(question).status != pb.ANSWER_STATUS_UNSPECIFIED


def test_a_comparison_takes_up_both_sides(service: Service) -> None:
    papers = {
        f"a{number}.txt": f"The difference of method {number} matters: alphanet differs a lot." for number in range(20)
    }
    papers["b.txt"] = "Betanet is a small network for maps."
    service.publish("nets", papers)
    config = pb.AskConfig(abstain_threshold=0, vector_weight=0, max_repairs=0, top_k_first=1)
    response = service.ask("What is the difference between alphanet and betanet?", config=config)
    assert list(response.path) == ["retrieve", "retrieve_sides", *FIRST[1:]]
    assert "Betanet" in response.answer and "alphanet" in response.answer
    assert "b.txt" in {source.passage.document_id for source in response.sources}
    assert len(response.sources) == 2
    for weight in (0, 1):  # all is found for the whole question already
        whole = pb.AskConfig(abstain_threshold=0, top_k_first=100, vector_weight=weight)
        assert "Betanet" in service.ask("What is the difference between alphanet and betanet?", config=whole).answer
    again = service.ask("What is the difference between alphanet and betanet?", config=config, refresh=True)
    assert again.answer == response.answer
    assert service.ask("alphanet and betanet", intent="explanation", config=config).path == FIRST
