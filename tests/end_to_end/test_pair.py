"""The whole way, from files to a cited answer, over both services and the command line."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import SAMPLE, Pair

QUESTION = "What is transfer learning?"


@pytest.fixture(scope="module")
def papers(pair: Pair) -> Pair:
    job = pair.json("ingest", SAMPLE, "--corpus", "papers")
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["result"]["index"]["document_count"] == len(list(SAMPLE.iterdir()))
    return pair


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / f"{name}.txt").write_bytes(text.encode())
    return directory


def test_citations_are_the_bytes_of_the_papers(papers: Pair) -> None:
    answer = papers.json("ask", QUESTION, "--corpus", "papers")
    assert answer["status"] in ("ANSWER_STATUS_ANSWERED", "ANSWER_STATUS_PARTIAL")
    assert answer["answer"] == " ".join(sentence["text"] for sentence in answer["sentences"])
    citations = [citation for sentence in answer["sentences"] for citation in sentence["citations"]]
    assert citations
    for citation in citations:
        paper = (SAMPLE / citation["document_id"]).read_bytes()
        quoted = paper[int(citation["start_byte"]) : int(citation["end_byte"])].decode()
        assert quoted == citation["quote"]


def test_second_ask_is_answered_from_the_cache_and_equal(papers: Pair) -> None:
    question = "What is dropout?"
    first = papers.json("ask", question, "--corpus", "papers")
    second = papers.json("ask", question, "--corpus", "papers")
    assert not first["cache"]["answer_hit"]
    assert second["cache"]["answer_hit"]
    for field in ("answer", "sources", "score", "path", "sentences", "config", "status", "issues"):
        assert first[field] == second[field]


def test_a_conversation(papers: Pair) -> None:
    first = papers.json("ask", "What is batch normalization?", "--corpus", "papers", "--session", "-")
    session = first["session_id"]
    plain = papers.run("ask", "and how does it work?", "--corpus", "papers", "--session", session, "--save")
    assert plain.returncode == 0
    assert plain.stdout.startswith("Understood as: how does batch normalization work?\n")
    exported = papers.run("session", "export", session).stdout
    turns = [json.loads(line) for line in exported.splitlines()]
    assert [turn["query"] for turn in turns] == ["What is batch normalization?", "and how does it work?"]
    assert turns[0]["response"] == first
    saved = papers.directory / plain.stderr.removeprefix("saved to ").strip()
    assert [json.loads(line) for line in saved.read_text().splitlines()] == turns
    streamed = papers.run("ask", "What is dropout?", "--corpus", "papers", "--json", "--stream").stdout
    messages = [json.loads(line) for line in streamed.splitlines()]
    assert list(messages[0]) == ["started"]
    assert "".join(message.get("text_delta", "") for message in messages) == messages[-1]["done"]["answer"]
    assert papers.json("session", "list")["sessions"][0]["session_id"] == session
    assert papers.json("session", "delete", session) == {"turn_count": 2}
    assert papers.run("session", "show", session).returncode == 1


def test_each_cache_answers_when_the_ones_above_it_are_empty(papers: Pair) -> None:
    question = "What is batch normalization?"
    papers.json("ask", question, "--corpus", "papers")
    assert papers.run("cache", "purge", "answers").returncode == 0
    after_answers = papers.json("ask", question, "--corpus", "papers")["cache"]
    assert not after_answers["answer_hit"]
    assert after_answers["retrieval_hit"]
    assert papers.run("--purge", "answers,retrieval", command="rag-cache").returncode == 0
    after_retrieval = papers.json("ask", question, "--corpus", "papers")["cache"]
    assert not after_retrieval["retrieval_hit"]
    assert after_retrieval["embed_hits"] > 0
    assert after_retrieval["embed_misses"] == 0


def test_no_cache_leaves_every_table_as_it_was(papers: Pair) -> None:
    def counts() -> dict[str, str]:
        return {name: table["count"] for name, table in papers.json("cache", "stats")["tables"].items()}

    before = counts()
    answer = papers.json("ask", "What is a residual network?", "--corpus", "papers", "--no-cache")
    assert answer["cache"]["embed_hits"] == 0
    assert counts() == before


def test_changed_text_never_brings_the_old_answer_back(pair: Pair) -> None:
    directory = write(pair.directory / "edited", note="The quokka constant is 41.\n\nIt was measured in 1999.")
    pair.json("ingest", directory, "--corpus", "edited")
    question = ("ask", "What is the quokka constant?", "--corpus", "edited")
    assert "41" in pair.json(*question)["answer"]
    write(directory, note="The quokka constant is 42.\n\nIt was measured in 1999.")
    pair.json("ingest", directory, "--corpus", "edited")
    changed = pair.json(*question)
    assert "42" in changed["answer"]
    assert not any("41" in source["passage"]["text"] for source in changed["sources"])


def test_unset_corpus_is_the_one_published_last(pair: Pair) -> None:
    directory = write(pair.directory / "latest", note="Numbats eat termites.")
    job = pair.json("ingest", directory)
    answer = pair.json("ask", "What do numbats eat?")
    assert answer["corpus"] == "latest"
    assert answer["corpus_id"] == job["result"]["index"]["corpus_id"]


@pytest.mark.parametrize("count", [1, 2])
def test_corpora_of_one_and_two_documents_answer(pair: Pair, count: int) -> None:
    texts = {"first": "The boiling point of water is 100 degrees Celsius.", "second": "Iron melts at 1538 degrees."}
    directory = write(pair.directory / f"small{count}", **dict(list(texts.items())[:count]))
    pair.json("ingest", directory)
    answer = pair.json("ask", "What is the boiling point of water?", "--corpus", f"small{count}")
    assert answer["answer"] == texts["first"]


def test_fact_at_the_end_of_a_long_file_is_found_and_cited(pair: Pair) -> None:
    filler = "\n\n".join(f"Paragraph {i} describes calibration run {i} of the apparatus." for i in range(1000))
    text = f"{filler}\n\nThe zyzzyva beetle weighs 17 milligrams."
    assert len(text) > 60_000
    directory = write(pair.directory / "long", paper=text)
    pair.json("ingest", directory)
    answer = pair.json("ask", "How much does the zyzzyva beetle weigh?", "--corpus", "long")
    citation = answer["sentences"][0]["citations"][0]
    assert citation["quote"] == "The zyzzyva beetle weighs 17 milligrams."
    assert text.encode()[int(citation["start_byte"]) : int(citation["end_byte"])].decode() == citation["quote"]


def test_papers_are_found_by_their_year(pair: Pair) -> None:
    directory = pair.directory / "years"
    directory.mkdir()
    (directory / "old.md").write_text("---\ntitle: Old\ndate: 1999-05-04\n---\nThe numbat eats termites.\n")
    (directory / "new.md").write_text("---\ntitle: New\nyear: 2020\n---\nThe numbat eats ants.\n")
    (directory / "undated.md").write_text("# Undated\nThe numbat eats both.\n")
    pair.json("ingest", directory)
    for years, expected in (
        ((), {"old.md", "new.md", "undated.md"}),
        (("--from-year", "2000"), {"new.md"}),
        (("--from-year", "1999", "--to-year", "1999"), {"old.md"}),
        (("--to-year", "1998"), set()),
    ):
        found = pair.json("search", "What does the numbat eat?", "--corpus", "years", *years)
        assert {source["passage"]["document_id"] for source in found["sources"]} == expected
    refused = pair.run("ask", "q", "--from-year", "2001", "--to-year", "2000")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "filter.last_year" in refused.stderr


def test_a_collection_is_ingested_and_measured(pair: Pair) -> None:
    directory = pair.directory / "beir"
    (directory / "qrels").mkdir(parents=True)
    animals = ("numbat", "quokka", "zyzzyva")
    lines = [json.dumps({"_id": f"d-{animal}", "text": f"The {animal} is an animal."}) for animal in animals]
    (directory / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": animal, "text": f"What is a {animal}?"}) for animal in animals]
    (directory / "queries.jsonl").write_text("\n".join(lines))
    rows = ["query-id\tcorpus-id\tscore", *(f"{animal}\td-{animal}\t1" for animal in animals)]
    (directory / "qrels" / "test.tsv").write_text("\n".join(rows))
    corpus_id = pair.json("ingest", directory)["result"]["index"]["corpus_id"]
    found = pair.json("eval", "retrieval", "--beir", directory, "--corpus", "beir", "--concurrency", "2")
    assert (found["corpus_id"], found["queries"]) == (corpus_id, 3)
    assert found["ndcg_at_10"] == found["recall_at_10"] == found["recall_at_100"] == found["mrr_at_10"] == 1.0


def test_unicode_comes_back_byte_identical(pair: Pair) -> None:
    sentences = {
        "chinese": "注意力机制是一种神经网络方法。",
        "arabic": "التعلم الآلي هو فرع من الذكاء الاصطناعي.",
        "french": "L\u2019e\u0301tude de\u0301montre que le cafe\u0301 re\u0301duit la fatigue.",
        "emoji": "The 🦘 hops over 🌵 at dawn.",
    }
    directory = write(pair.directory / "scripts", **sentences)
    pair.json("ingest", directory)
    for query, name in (
        ("注意力机制", "chinese"),
        ("التعلم الآلي", "arabic"),
        ("café fatigue", "french"),
        ("🦘 hops", "emoji"),
    ):
        found = pair.json("search", query, "--corpus", "scripts", "--top-k", "1")["sources"][0]["passage"]
        assert (found["document_id"], found["text"]) == (f"{name}.txt", sentences[name])


def test_composed_and_decomposed_spellings_are_one_query(papers: Pair) -> None:
    first = papers.json("search", "caf\u00e9 models", "--corpus", "papers")
    second = papers.json("search", "cafe\u0301 models", "--corpus", "papers")
    assert not first["cache"]["retrieval_hit"]
    assert second["cache"]["retrieval_hit"]
    assert first["sources"] == second["sources"]


def test_jobs_are_listed_and_watchable_after_a_restart(tmp_path: Path) -> None:
    services = Pair(tmp_path, "hashing-64")
    try:
        services.start()
        job = services.json("ingest", SAMPLE)
        assert services.stop() == 0
        services.start()
        assert [listed["job_id"] for listed in services.json("jobs", "list")["jobs"]] == [job["job_id"]]
        watched = services.run("jobs", "watch", job["job_id"], "--json")
        assert json.loads(watched.stdout)["job"]["state"] == "JOB_STATE_SUCCEEDED"
        assert services.stop() == 0
    finally:
        services.close()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ingest", "missing"), 1, "no directory"),
        (("ingest", "/etc"), 1, "RAG_CORPUS_ROOTS"),
        (("ask", "anything", "--corpus", "nowhere"), 1, "nowhere"),
        (("ask", "   "), 2, "query"),
        (("ask", "x" * 100_000), 2, "query"),
        (("ask", "anything", "--intent", "gossip"), 2, "gossip"),
        (("search", "anything", "--top-k", "0"), 2, "top_k"),
        (("search", "anything", "--top-k", "1000000000"), 2, "top_k"),
        (("search", "anything", "--bm25-weight", "nan"), 2, "bm25_weight"),
        (("search", "anything", "--bm25-weight", "-1"), 2, "bm25_weight"),
        (("search", "anything", "--bm25-weight", "0", "--vector-weight", "0"), 2, "weight"),
        (("jobs", "show", "no-such-job"), 1, "no job"),
        (("cache", "purge", "pictures"), 2, "pictures"),
    ],
)
def test_bad_input_is_refused_with_its_reason(papers: Pair, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = papers.run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr + papers.log()


def test_model_that_cannot_be_had_fails_the_job_and_says_what_to_install(pair: Pair) -> None:
    done = pair.run("ingest", SAMPLE, "--corpus", "other", "--model", "no-such-model")
    assert done.returncode == 1
    assert "MODEL_UNAVAILABLE" in done.stderr
    assert "no-such-model" in done.stderr
    assert pair.run("ask", "anything", "--corpus", "other").returncode == 1


def test_rolling_back_verifying_and_deleting_versions(pair: Pair) -> None:
    papers = pair.directory / "versions"
    ids = [
        pair.json("ingest", write(papers, a=f"The quokka constant is {number}."))["result"]["index"]["corpus_id"]
        for number in (1, 2)
    ]
    assert "is 2." in pair.json("ask", "What is the quokka constant?", "--corpus", "versions")["answer"]
    done = pair.run("index", "activate", ids[0], "--corpus", "versions")
    assert (done.returncode, done.stdout) == (0, f"versions answers from {ids[0]}\n")
    assert "is 1." in pair.json("ask", "What is the quokka constant?", "--corpus", "versions")["answer"]
    assert pair.json("index", "verify", "--corpus", "versions")["index"]["corpus_id"] == ids[0]

    refused = pair.run("index", "delete", ids[0], "--corpus", "versions")
    assert refused.returncode == 1 and "rag index activate" in refused.stderr
    assert int(pair.json("index", "delete", ids[1], "--corpus", "versions")["freed_bytes"]) > 0
    assert [version["corpus_id"] for version in pair.json("index", "list", "--corpus", "versions")["indexes"]] == ids[
        :1
    ]
    assert pair.run("index", "delete", ids[1], "--corpus", "versions").returncode == 1
    assert pair.json("index", "gc")["corpus_ids"] == []

    vectors = pair.data / "indexes" / ids[0] / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"?")
    damaged = pair.run("index", "verify", ids[0])
    assert damaged.returncode == 1 and "vectors.npy" in damaged.stderr


def test_asking_before_any_ingest_says_what_to_do(tmp_path: Path) -> None:
    services = Pair(tmp_path, "hashing-64")
    try:
        services.start()
        done = services.run("ask", "What is dropout?")
        assert done.returncode == 1
        assert "rag ingest" in done.stderr
        empty = services.run("ingest", write(tmp_path / "empty"))
        assert (empty.returncode, "no papers" in empty.stderr) == (1, True)
        assert services.json("jobs", "list")["jobs"] == []
    finally:
        services.close()


def test_no_server_is_exit_code_three_and_a_hint(tmp_path: Path) -> None:
    services = Pair(tmp_path, "hashing-64")
    services.close()
    for arguments in (("ask", "x"), ("ingest", str(SAMPLE)), ("jobs", "list"), ("cache", "stats")):
        done = services.run(*arguments, *_nowhere(arguments[0]))
        assert done.returncode == 3
        assert "rag serve" in done.stderr


def _nowhere(command: str) -> tuple[str, str]:
    # Port 1 is never listened to by chance.
    return ("--ingest-address" if command in ("ingest", "jobs") else "--query-address", "127.0.0.1:1")


def test_the_spellings_of_the_seed(papers: Pair) -> None:
    done = papers.run("--dir", SAMPLE, "--model", "hashing-64", "--no-cache", command="rag-ingest")
    assert done.returncode == 0, done.stderr
    assert "Documents" in done.stdout
    assert "Hit rate" in done.stdout
    assert papers.run(QUESTION, command="rag-ask").returncode == 0
    stats = papers.run("--stats", command="rag-cache")
    assert all(word in stats.stdout for word in ("Cache Statistics", "embeddings", "sessions", "TOTAL"))
    assert papers.run("--purge", "all", command="rag-cache").returncode == 0
    assert {table["count"] for table in papers.json("cache", "stats")["tables"].values()} == {"0"}


def test_uploaded_papers_are_ingested_and_answer(pair: Pair) -> None:
    papers = write(pair.directory.parent / "far-away", note="The bilby constant is 7.")
    job = pair.json("upload", papers, "--corpus", "sent")
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["corpus_dir"] == str(pair.data / "uploads" / "sent")
    assert "7" in pair.json("ask", "What is the bilby constant?", "--corpus", "sent")["answer"]


def test_the_doctor_says_what_is_missing_and_what_is_damaged(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "hashing-64")
    pair.start()
    try:

        def checks(*arguments: str) -> dict[str, str]:
            done = pair.run("doctor", "--json", *arguments)
            found = json.loads(done.stdout)
            assert (done.returncode, found["ok"]) in ((0, True), (1, False))
            return {check["name"]: check["grade"] for check in found["checks"]}

        assert checks()["corpora"] == "warning"
        pair.json("ingest", write(tmp_path / "papers", a="Dropout removes units."), "--corpus", "papers")
        well = checks("--verify")
        assert {"IngestService", "QueryService", "data directory", "generator", "caches", "model", "corpus papers"} <= {
            name for name, grade in well.items() if grade == "ok"
        }
        [vectors] = pair.data.glob("indexes/*/vectors.npy")
        data = bytearray(vectors.read_bytes())
        data[-1] ^= 1
        vectors.write_bytes(data)
        assert checks("--verify")["corpus papers"] == "problem"
    finally:
        pair.close()
