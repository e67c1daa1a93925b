"""Commands that ask, search, plan and look into caches and indexes."""

import json

import pytest

from rag_client.cli import main, seed
from rag_client.cli.exits import HINTS, ExitCode
from rag_papers import errors
from rag_papers.v1 import ingest_pb2, query_pb2
from rag_papers.v1.query_pb2 import AbstainReason, AnswerIssue, AnswerStatus
from rag_papers.v1.resources_pb2 import AnswerSentence, CacheInfo, Citation, Index, Passage, Source
from tests.clients.scripted_server import ScriptedServer, index

EVIL = "safe\x1b[31m red\x1b]0;title\x07 [bold]kept[/bold]\r\n\x9b2Jnext\u202e\x00end"
HARMLESS = "safe red [bold]kept[/bold] nextend"


def _citation(**values):
    known = {
        "source_rank": 1,
        "passage_id": "lora.md#2",
        "document_id": "lora.md",
        "title": "LoRA",
        "section": "Method > Rank",
        "page": 3,
        "start_byte": 120,
        "end_byte": 160,
        "quote": "The rank is small.",
    }
    return Citation(**{**known, **values})


def _answer(**values):
    first, second = _citation(), _citation(passage_id="adam.md#0", title="", section="", page=0, quote="Second quote.")
    known = {
        "answer": "The rank is small. It works. Nobody knows.",
        "status": AnswerStatus.ANSWER_STATUS_ANSWERED,
        "sentences": [
            AnswerSentence(text="The rank is small.", citations=[first, second], supported=True),
            AnswerSentence(text="It works.", citations=[first], supported=True),
            AnswerSentence(text="Nobody knows."),
        ],
        "sources": [Source(rank=1, score=0.9, passage=Passage(passage_id="lora.md#2", path="papers/lora.md"))],
        "score": 0.831,
        "accepted": True,
        "intent": "definition",
        "path": ["retrieve", "verify", "retrieve"],
        "timings_ms": {"total": 34.4, "verify": 2.0, "retrieve": 30.0},
        "context_chars": 900,
        "config": query_pb2.AskConfig(context_max_chars=4000, accept_threshold=0.72),
        "corpus_id": "a1b2c3d4e5f60718",
        "corpus": "papers",
        "generator": "extractive/1",
        "trace_id": "t-1",
        "cache": CacheInfo(embed_misses=1),
    }
    return query_pb2.AskResponse(**{**known, **values})


def test_an_answer_has_marks_and_the_sources_that_it_cites(server, rag):
    server.on("Ask", _answer())
    result = rag("ask", "What is LoRA?")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "The rank is small. [1][2] It works. [1] Nobody knows. [unsupported]",
        "",
        "Sources",
        "  [1] LoRA, Method > Rank, p. 3",
        "      papers/lora.md, bytes 120-160",
        "      “The rank is small.”",
        "  [2] (untitled)",
        "      lora.md, bytes 120-160",
        "      “Second quote.”",
        "",
        "answered · score 0.83 · definition · nothing from cache · 34.4 ms",
    ]


def test_explain_adds_the_steps(server, rag):
    server.on("Ask", _answer(repair_used=True))
    lines = rag("ask", "What is LoRA?", "--explain").stdout.splitlines()
    assert lines[lines.index("Path:       retrieve > verify > retrieve (repaired)") :] == [
        "Path:       retrieve > verify > retrieve (repaired)",
        "  retrieve: 30 ms",
        "  verify:   2 ms",
        "  total:    34.4 ms",
        "Context:    900 of at most 4000 characters",
        "Threshold:  0.72",
        "Generator:  extractive/1",
        "Corpus:     papers a1b2c3d4e5f60718",
        "Trace:      t-1",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cache": CacheInfo(answer_hit=True, age_ms=180_000)}, "answer from cache, 3 min old"),
        ({"cache": CacheInfo(retrieval_hit=True, age_ms=1_500)}, "ranking from cache, 1.5 s old"),
        ({"cache": CacheInfo(embed_hits=1)}, "question's vector from cache"),
        (
            {
                "status": AnswerStatus.ANSWER_STATUS_PARTIAL,
                "issues": [AnswerIssue.ANSWER_ISSUE_OFF_TOPIC, AnswerIssue.ANSWER_ISSUE_TOO_SHORT],
            },
            "partial: off topic, too short · score 0.83",
        ),
        ({"status": 99}, "99 · score 0.83"),
    ],
)
def test_the_verdict_line(server, rag, values, expected):
    server.on("Ask", _answer(**values))
    assert expected in rag("ask", "What is LoRA?").stdout.splitlines()[-1]


def test_an_abstention_is_said_and_is_no_failure(server, rag):
    server.on(
        "Ask",
        _answer(
            answer="The papers do not say.",
            sentences=[],
            sources=[],
            score=0.0,
            status=AnswerStatus.ANSWER_STATUS_ABSTAINED,
            abstain_reason=AbstainReason.ABSTAIN_REASON_WEAK_EVIDENCE,
        ),
    )
    result = rag("ask", "Who won?")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "The papers do not say."
    assert result.stdout.splitlines()[-1].startswith("abstained: weak evidence · ")


def test_ask_sends_what_was_given_and_nothing_else(server, rag):
    server.on("Ask", _answer())
    rag(
        "ask",
        "q",
        "--corpus",
        "c",
        "--corpus-id",
        "i",
        "--intent",
        "how_to",
        "--no-cache",
        "--top-k",
        "7",
        "--bm25-weight",
        "0",
        "--vector-weight",
        "1",
        "--exact",
    )
    rag("ask", "q", "--refresh")
    full, plain = server.seen["Ask"]
    assert full == query_pb2.AskRequest(
        query="q",
        corpus="c",
        corpus_id="i",
        intent="how_to",
        use_cache=False,
        config=query_pb2.AskConfig(top_k_first=7, bm25_weight=0.0, vector_weight=1.0, exact=True),
    )
    assert plain == query_pb2.AskRequest(query="q", refresh=True, config=query_pb2.AskConfig())


@pytest.mark.parametrize("command", ["ask", "search"])
def test_no_cache_and_refresh_exclude_each_other(server, rag, command):
    result = rag(command, "q", "--no-cache", "--refresh")
    assert result.exit_code == 2
    assert "--no-cache and --refresh exclude each other" in result.stderr
    assert not server.seen


def test_text_of_papers_cannot_touch_the_terminal(server, rag):
    passage = Passage(passage_id="p", title=EVIL, section=EVIL, path=EVIL, text=EVIL)
    server.on(
        "Ask",
        _answer(
            sentences=[
                AnswerSentence(
                    text=EVIL,
                    supported=True,
                    citations=[_citation(passage_id="p", title=EVIL, section=EVIL, quote=EVIL)],
                )
            ],
            sources=[Source(passage=passage)],
            intent=EVIL,
            generator=EVIL,
            path=[EVIL],
        ),
    )
    server.on("Search", query_pb2.SearchResponse(sources=[Source(rank=1, passage=passage)], corpus=EVIL))
    for args in (["ask", "q", "--explain"], ["search", "q"]):
        printed = rag(*args).stdout
        assert not {c for c in printed if not c.isprintable()} - {"\n"}
        assert printed.count(HARMLESS) >= 4


def test_an_error_cannot_touch_the_terminal_either(server, rag):
    server.on("Ask", errors.Internal(EVIL))
    assert rag("ask", "q").stderr.splitlines()[0] == f"error: {HARMLESS}"


def test_search_shows_passages_and_where_they_stand(server, rag):
    passage = Passage(
        passage_id="lora.md#2",
        title="LoRA",
        section="Rank",
        path="lora.md",
        first_page=3,
        last_page=4,
        start_byte=10,
        end_byte=90,
        text="word " * 200,
    )
    server.on(
        "Search",
        query_pb2.SearchResponse(
            sources=[Source(rank=1, score=1.0, bm25_score=7.25, vector_score=-0.5, passage=passage)],
            corpus="papers",
            corpus_id="a1b2c3d4e5f60718",
            timings_ms={"total": 5.0},
        ),
    )
    result = rag("search", "rank", "--top-k", "3", "--vector-weight", "0", "--no-cache")
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "  1. LoRA, Rank, pp. 3-4",
        "     lora.md, bytes 10-90",
        "     score 1.000, BM25 7.250, cosine -0.500",
    ]
    assert lines[3].endswith("word…") and len(lines[3]) < 310
    assert lines[-1] == "papers a1b2c3d4e5f60718 · nothing from cache · 5 ms"
    assert server.seen["Search"] == [query_pb2.SearchRequest(query="rank", top_k=3, vector_weight=0.0, use_cache=False)]


@pytest.mark.parametrize("parts", [0, 1, 3])
@pytest.mark.parametrize("command", ["ask", "search"])
def test_that_a_question_was_longer_than_the_window_is_said_on_stderr(server, rag, command, parts):
    kind = query_pb2.AskResponse if command == "ask" else query_pb2.SearchResponse
    server.on(command.capitalize(), kind(query_parts=parts))
    for result in (rag(command, "q"), rag(command, "q", "--json")):
        assert result.exit_code == ExitCode.DONE
        assert ("mean of its 3 parts" in result.stderr) == (parts > 1)
        assert bool(result.stderr) == (parts > 1)
        assert "mean of" not in result.stdout


@pytest.mark.parametrize("command", ["ask", "search"])
def test_documents_and_paths_become_a_filter(server, rag, command):
    server.on("Ask", _answer())
    server.on("Search", query_pb2.SearchResponse())
    rag(command, "q", "--document", "b.md", "--path", "2015/", "--document", "a.md", "--path", "2016/")
    rag(command, "q", "--path", "")
    rag(command, "q")
    both, blank, without = server.seen[command.title()]
    assert both.filter == query_pb2.Filter(document_ids=["b.md", "a.md"], path_prefixes=["2015/", "2016/"])
    assert blank.filter == query_pb2.Filter(path_prefixes=[""])  # the service says what is wrong with it
    assert not without.HasField("filter")


@pytest.mark.parametrize("command", ["ask", "search"])
def test_years_become_a_filter(server, rag, command):
    server.on("Ask", _answer())
    server.on("Search", query_pb2.SearchResponse())
    rag(command, "q", "--from-year", "2014", "--to-year", "2016", "--path", "a/")
    rag(command, "q", "--from-year", "0")
    rag(command, "q", "--to-year", "-1")
    assert [request.filter for request in server.seen[command.title()]] == [
        query_pb2.Filter(first_year=2014, last_year=2016, path_prefixes=["a/"]),
        query_pb2.Filter(first_year=0),
        query_pb2.Filter(last_year=-1),  # the service says what is wrong with it
    ]


@pytest.mark.parametrize("option", [("--path", "\udcff"), ("--to-year", "99999999999"), ("--from-year", "soon")])
def test_a_filter_that_the_message_cannot_hold_is_refused(server, rag, option):
    result = rag("search", "q", *option)
    assert result.exit_code == ExitCode.USAGE
    assert "rror: " in result.stderr
    assert not server.seen


def test_plan_shows_steps_and_settings(server, rag):
    server.on(
        "Plan",
        query_pb2.PlanResponse(
            intent="definition",
            intent_detected=True,
            steps=["retrieve", "verify"],
            config=query_pb2.AskConfig(top_k_first=12, accept_threshold=0.72, generator="extractive", max_repairs=0),
        ),
    )
    assert rag("plan", "What is LoRA?", "--intent", "definition").stdout.splitlines() == [
        "Intent:             definition (detected)",
        "Steps:              retrieve > verify",
        "  top_k_first:      12",
        "  accept_threshold: 0.72",
        "  max_repairs:      0",
        "  generator:        extractive",
    ]
    assert server.seen["Plan"] == [query_pb2.PlanRequest(query="What is LoRA?", intent="definition")]


@pytest.fixture
def stats(server: ScriptedServer):
    response = query_pb2.GetCacheStatsResponse(database_path="/srv/data/cache/cache.db", file_bytes=5 << 20)
    for name, count, size in (("embeddings", 42, 159_949), ("answers", 8, 900)):
        response.tables[name].count, response.tables[name].total_bytes = count, size
        response.tables[name].oldest_time.seconds = 1_736_937_000
        response.tables[name].newest_time.seconds = 1_736_950_920
        response.tables[name].limit_bytes = 4 * size
        response.tables[name].counters.hits, response.tables[name].counters.misses = 3 * count, count
        response.tables[name].counters.evictions, response.tables[name].counters.expired = 5, 6
    response.tables["answers"].ttl.seconds = 30 * 86400
    response.tables["sessions"].count = 0
    server.on("GetCacheStats", response)
    return response


@pytest.mark.parametrize(("command", "args"), [(main, ["cache", "stats"]), (seed.cache, ["--stats"])])
def test_cache_stats_are_the_seeds_table(stats, rag, command, args):
    lines = rag(*args, command=command).stdout.splitlines()
    assert lines[0] == "Cache Statistics: /srv/data/cache/cache.db"
    table = lines[2:]
    assert table[0].split() == ["Table", "Count", "Size", "Oldest", "Newest"]
    assert set(table[1]) == {"="} == set(table[5])
    assert table[2].split()[:4] == ["answers", "8", "900", "B"]
    assert table[3].split()[:4] == ["embeddings", "42", "156.2", "KB"]
    assert table[4].split() == ["sessions", "0", "0", "B", "-", "-"]
    assert table[6].split() == ["TOTAL", "50", "157.1", "KB"]
    use = lines[10:]
    assert use[0].split() == "Table Limit Full Kept for Last used Evicted Expired Hits Misses Hit rate".split()
    assert use[2].split() == [*"answers 3.5 KB 25% 30 d - 5 6 24 8".split(), "[###############.....]", "75.0%"]
    assert use[3].split()[:8] == "embeddings 624.8 KB 25% - - 5 6".split()
    assert use[4].split() == "sessions - - - - 0 0 0 0 -".split()
    assert use[6].split() == ["TOTAL", "150", "50", "[###############.....]", "75.0%"]
    assert lines[-1] == "Database on disk: 5.0 MB"
    tables = json.loads(rag(*args, "--json", command=command).stdout)["tables"]
    assert tables["sessions"] == {"count": "0", "total_bytes": "0"}
    assert tables["answers"]["ttl"] == "2592000s"


@pytest.mark.parametrize("as_json", [False, True])
def test_watched_stats_are_shown_again_until_interrupted(stats, server, rag, monkeypatch, as_json):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("rag_client.cli.cache.time.sleep", sleep)
    result = rag("cache", "stats", "--watch", "--interval", "0.5", *(["--json"] if as_json else []))
    assert pauses == [0.5] * 3
    assert len(server.seen["GetCacheStats"]) == 3
    assert result.stdout.count("database_path" if as_json else "Cache Statistics") == 3


def test_purge_and_vacuum(server, rag):
    server.on(
        "PurgeCache",
        query_pb2.PurgeCacheResponse(
            purged={"answers": 42, "retrieval": 1, "sessions": 0}, purged_bytes={"answers": 2048, "retrieval": 7}
        ),
    )
    server.on("VacuumCache", query_pb2.VacuumCacheResponse(bytes_before=3 << 20, bytes_after=1 << 20))
    assert rag("cache", "purge", "answers", "retrieval").stdout.splitlines() == [
        "answers: 42 entries deleted, 2.0 KB",
        "retrieval: 1 entry deleted, 7 B",
        "sessions: 0 entries deleted",
    ]
    assert json.loads(rag("cache", "purge", "all", "--json").stdout) == {
        "purged": {"answers": "42", "retrieval": "1", "sessions": "0"},
        "purged_bytes": {"answers": "2048", "retrieval": "7"},
    }
    which = ("--corpus", "papers", "--older-than", "1.5h", "--dry-run")
    assert rag("cache", "purge", "all", *which).stdout.startswith("answers: 42 entries would be deleted, 2.0 KB\n")
    rag("cache", "purge", "answers", "--corpus-id", "0123456789abcdef", "--older-than", "0d")
    wanted = query_pb2.PurgeCacheRequest(tables=["all"], corpus="papers", dry_run=True)
    wanted.older_than.seconds = 5400
    by_id = query_pb2.PurgeCacheRequest(tables=["answers"], corpus_id="0123456789abcdef", older_than={})
    assert server.seen["PurgeCache"][-2:] == [wanted, by_id]
    for age in ("soon", "7", "-1d", "1e99d", "9" * 30 + "d"):
        assert rag("cache", "purge", "all", "--older-than", age).exit_code == 2
    assert not server.seen["VacuumCache"]
    assert rag("cache", "vacuum").stdout == "freed 2.0 MB: 3.0 MB before, 1.0 MB after\n"
    assert rag("cache", "purge").exit_code == 2


def test_the_seeds_purge_gives_the_space_back_too(server, rag):
    server.on("PurgeCache", query_pb2.PurgeCacheResponse(purged={"answers": 42}))
    server.on("VacuumCache", query_pb2.VacuumCacheResponse(bytes_before=3 << 20, bytes_after=1 << 20))
    result = rag("--purge", "answers, retrieval", command=seed.cache)
    assert result.stdout.splitlines() == [
        "answers: 42 entries deleted, 0 B",
        "freed 2.0 MB: 3.0 MB before, 1.0 MB after",
    ]
    assert server.seen["PurgeCache"][0].tables == ["answers", "retrieval"]
    printed = rag("--purge", "all", "--json", command=seed.cache)
    assert json.loads(printed.stdout) == {"purged": {"answers": "42"}, "purged_bytes": {}}
    assert printed.stderr.startswith("freed ")


@pytest.mark.parametrize("args", [[], ["--stats", "--purge", "all"]])
def test_the_seeds_cache_wants_one_thing(rag, args):
    assert rag(*args, command=seed.cache).exit_code == 2


def test_the_seeds_ask(server, rag):
    server.on("Ask", _answer())
    assert rag("What is LoRA?", command=seed.ask).stdout == rag("ask", "What is LoRA?").stdout


def test_index_list_and_show(server, rag):
    server.on(
        "ListIndexes",
        ingest_pb2.ListIndexesResponse(indexes=[index(), index(corpus_id="b" * 40, corpus="数据", active=False)]),
    )
    server.on("GetIndex", ingest_pb2.GetIndexResponse(index=index(checksums={"vectors.npy": "ab" * 32})))
    lines = rag("index", "list", "--corpus", "papers", COLUMNS="20").stdout.splitlines()
    assert lines[1].split() == ["papers", "*", "a1b2c3d4e5f60718", "6", "40", "156.2", "KB", "-", "all-MiniLM-L6-v2"]
    assert lines[2].split()[:2] == ["数据", "b" * 40]
    shown = rag("index", "show", "a1b2c3d4e5f60718", "--corpus", "papers").stdout
    assert "Active:         yes" in shown and f"{'ab' * 32}  vectors.npy" in shown
    assert server.seen["GetIndex"] == [ingest_pb2.GetIndexRequest(corpus="papers", corpus_id="a1b2c3d4e5f60718")]
    assert len(json.loads(rag("index", "list", "--json").stdout)["indexes"]) == 2
    document = json.loads(rag("index", "show", "--json").stdout)["index"]
    assert document["dim"] == 384
    assert {field.name for field in Index.DESCRIPTOR.fields if not field.has_presence} <= set(document)
    assert server.seen["GetIndex"][-1] == ingest_pb2.GetIndexRequest()


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["ask", "q"], query_pb2.AskResponse),
        (["search", "q"], query_pb2.SearchResponse),
        (["plan", "q"], query_pb2.PlanResponse),
        (["cache", "stats"], query_pb2.GetCacheStatsResponse),
        (["cache", "vacuum"], query_pb2.VacuumCacheResponse),
        (["jobs", "list"], ingest_pb2.ListJobsResponse),
        (["index", "list"], ingest_pb2.ListIndexesResponse),
    ],
)
def test_json_is_one_document_with_the_names_and_defaults_of_the_contract(server, rag, args, kind):
    server.on("Ask", query_pb2.AskResponse())
    server.on("Search", query_pb2.SearchResponse())
    server.on("Plan", query_pb2.PlanResponse())
    server.on("VacuumCache", query_pb2.VacuumCacheResponse())
    server.on("GetCacheStats", query_pb2.GetCacheStatsResponse())
    server.on("ListJobs", ingest_pb2.ListJobsResponse())
    server.on("ListIndexes", ingest_pb2.ListIndexesResponse())
    server.on("GetIndex", ingest_pb2.GetIndexResponse())
    [line] = rag(*args, "--json").stdout.splitlines()
    document = json.loads(line)
    assert set(document) == {field.name for field in kind.DESCRIPTOR.fields if not field.has_presence}


@pytest.mark.parametrize("kind", errors.ERRORS, ids=lambda kind: kind.reason)
def test_every_failure_has_words_a_code_and_nothing_on_stdout(server, rag, kind):
    server.on("Ask", kind("what happened"))
    result = rag("ask", "q", "--json")
    codes = {"INVALID_REQUEST": ExitCode.USAGE, "UNREACHABLE": ExitCode.UNREACHABLE}
    assert result.exit_code == codes.get(kind.reason, ExitCode.FAILED)
    assert result.stdout == ""
    wait = kind("what happened").retry_after or 0.0
    hint = [f"hint: {HINTS[kind.reason].format(wait=wait)}"] if kind.reason in HINTS else []
    assert result.stderr.splitlines() == ["error: what happened", *hint]


def test_every_hint_is_for_a_reason_that_exists():
    assert set(HINTS) <= set(errors.BY_REASON)


def test_nobody_there(rag):
    nobody = ScriptedServer()
    nobody.stop()
    result = rag("cache", "stats", "--query-address", nobody.address)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (f"error: nothing answers at {nobody.address}\nhint: start the services with: rag serve\n")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_timeout_must_be_one(rag, value):
    result = rag("ask", "q", "--timeout", value)
    assert result.exit_code == 2
    assert "timeout: " in result.stderr


@pytest.mark.parametrize("command", ["ask", "search"])
@pytest.mark.parametrize("number", ["99999999999", "-99999999999", "many"])
def test_a_number_that_no_field_holds_is_a_usage_error(server, rag, command, number):
    result = rag(command, "q", "--top-k", number)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--top-k" in result.stderr
    assert not server.seen["Ask"] and not server.seen["Search"]
