"""The contract's messages to and from what the service works with; every request is validated here."""

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from query_service import config
from query_service.answer import Answer
from query_service.answering import Ask
from query_service.config import AskConfig, Defaults, SearchConfig
from query_service.evidence import RankedPassage
from query_service.generators import GENERATORS
from query_service.generators.base import Citation, DraftSentence
from query_service.plan import steps
from query_service.question import Intent, detect
from query_service.rerankers import NAMES as RERANKERS
from query_service.rerankers import is_reranker
from query_service.retrieving import CacheUse
from query_service.searching import Found, Search
from query_service.verification.verify import Issue, Judged
from rag_papers.errors import InvalidRequest
from rag_papers.persist.caching import BYPASS, REFRESH, USE, CachePolicy
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.analysis import normalise
from rag_papers.retrieval.filtering import LAST_YEAR, Filter
from rag_papers.retrieval.fusion import Candidate
from rag_papers.v1 import query_pb2, resources_pb2

_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), " ")


def ask(request: query_pb2.AskRequest, max_query_chars: int, defaults: Defaults) -> Ask:
    """A valid AskRequest; `defaults` are those of settings which it leaves unset.

    Raises InvalidRequest that names everything wrong with it.
    """
    wrong: dict[str, str] = {}
    query = _query(request.query, max_query_chars, wrong)
    result = Ask(
        query=query,
        intent=_intent(request.intent, query, wrong),
        intent_detected=not request.intent,
        corpus=request.corpus,
        corpus_id=request.corpus_id,
        filter=_filter(request.filter, wrong),
        config=_ask_config(request.config, defaults, wrong),
        policy=_policy(request, wrong),
        session_id=request.session_id,
    )
    if len(request.session_id) > config.MAX_SESSION_ID_CHARS:
        wrong["session_id"] = f"has {len(request.session_id):,} characters; an id has 32"
    _raise_if(wrong)
    return result


def search(request: query_pb2.SearchRequest, max_query_chars: int) -> Search:
    """A valid SearchRequest. Raises InvalidRequest."""
    wrong: dict[str, str] = {}
    values = _set_fields(request, SearchConfig)
    wrong |= config.violations(SearchConfig, values)
    result = Search(
        query=_query(request.query, max_query_chars, wrong),
        corpus=request.corpus,
        corpus_id=request.corpus_id,
        filter=_filter(request.filter, wrong),
        config=SearchConfig(**values),
        policy=_policy(request, wrong),
    )
    _raise_if(wrong)
    return result


def plan(request: query_pb2.PlanRequest, max_query_chars: int, defaults: Defaults) -> query_pb2.PlanResponse:
    """The response to a PlanRequest; `defaults` as in `ask`. Raises InvalidRequest."""
    wrong: dict[str, str] = {}
    query = _query(request.query, max_query_chars, wrong)
    intent = _intent(request.intent, query, wrong)
    effective = _ask_config(request.config, defaults, wrong)
    _raise_if(wrong)
    return query_pb2.PlanResponse(
        intent=intent,
        intent_detected=not request.intent,
        steps=steps(intent, effective.max_repairs),
        config=config_message(effective),
    )


def answer_bytes(answer: Answer) -> bytes:
    """An answer as the bytes of an AskResponse without the fields that differ from call to call."""
    return query_pb2.AskResponse(
        answer=answer.text,
        status=query_pb2.AnswerStatus.Value(f"ANSWER_STATUS_{answer.status.name}"),
        abstain_reason=(
            query_pb2.AbstainReason.Value(f"ABSTAIN_REASON_{answer.abstain_reason.name}")
            if answer.abstain_reason
            else query_pb2.ABSTAIN_REASON_UNSPECIFIED
        ),
        sentences=judged_sentences(answer.sentences, answer.judged),
        sources=sources(answer.sources),
        evidence_strength=answer.strength,
        score=answer.score,
        accepted=answer.accepted,
        issues=issues(answer.issues),
        intent=answer.intent,
        path=answer.path,
        steps_skipped=answer.steps_skipped,
        query_parts=answer.query_parts,
        context_chars=answer.context_chars,
        repair_used=answer.repair_used,
        config=config_message(answer.config),
        corpus_id=answer.corpus_id,
        generator=answer.generator,
    ).SerializeToString(deterministic=True)


def search_response(found: Found, trace_id: str) -> query_pb2.SearchResponse:
    """The response to a search."""
    response = query_pb2.SearchResponse(
        sources=[
            _source(rank, candidate.score, candidate, record)
            for rank, (candidate, record) in enumerate(found.passages, start=1)
        ],
        corpus_id=found.corpus_id,
        timings_ms=found.timings_ms,
        trace_id=trace_id,
        corpus=found.corpus,
        query_parts=found.query_parts,
    )
    set_cache_info(response.cache, found.cache)
    return response


def sources(passages: Sequence[RankedPassage]) -> list[resources_pb2.Source]:
    """The sources of an answer, best first."""
    return [
        _source(rank, passage.score, passage.candidate, passage.record)
        for rank, passage in enumerate(passages, start=1)
    ]


def judged_sentences(
    sentences: Sequence[DraftSentence], judged: Sequence[Judged]
) -> list[resources_pb2.AnswerSentence]:
    """The sentences of an answer with what the verifier thinks of each, and the bytes that it found for it."""
    return [
        resources_pb2.AnswerSentence(
            text=sentence.text,
            citations=map(_citation, its.citations),
            supported=its.supported,
            support=its.support,
            agreement=its.agreement,
            clashes=[resources_pb2.SentenceClash.Value(f"SENTENCE_CLASH_{clash.name}") for clash in its.clashes],
        )
        for sentence, its in zip(sentences, judged, strict=True)
    ]


def issues(found: Sequence[Issue]) -> list[query_pb2.AnswerIssue.ValueType]:
    """What the verifier found wrong."""
    return [query_pb2.AnswerIssue.Value(f"ANSWER_ISSUE_{issue.name}") for issue in found]


def set_cache_info(message: resources_pb2.CacheInfo, use: CacheUse) -> None:
    """Writes what the caches contributed to a call into a message that is empty."""
    if use.answer_hit:
        message.answer_hit = True
    else:
        message.retrieval_hit = use.retrieval_hit
        message.embed_hits = use.embed_hits
        message.embed_misses = use.embed_misses
    message.age_ms = use.age_ms


def _query(text: str, limit: int, wrong: dict[str, str]) -> str:
    text = text.strip()
    if len(text) > limit:
        wrong["query"] = f"has {len(text):,} characters; at most {limit:,} are allowed"
        return ""
    query = normalise(text.translate(_CONTROL))
    if all(unicodedata.category(character)[0] in "CZ" for character in query):
        wrong["query"] = "is blank"
    return query


def _intent(name: str, query: str, wrong: dict[str, str]) -> Intent:
    if not name:
        return detect(query)
    try:
        return Intent(name)
    except ValueError:
        wrong["intent"] = f"{name[:40]!r} is none of: {', '.join(Intent)}"
        return Intent.UNKNOWN


def _filter(message: query_pb2.Filter, wrong: dict[str, str]) -> Filter:
    faults = {
        "filter.document_ids": _faults(message.document_ids, config.MAX_DOCUMENT_IDS),
        "filter.path_prefixes": _faults(message.path_prefixes, config.MAX_PATH_PREFIXES),
    }
    wrong |= {name: "; ".join(found) for name, found in faults.items() if found} | _year_faults(message)
    if any(faults.values()):
        return Filter()  # what is too long is not worth normalising
    return Filter(
        document_ids=tuple(message.document_ids),
        path_prefixes=tuple(message.path_prefixes),
        first_year=message.first_year if message.HasField("first_year") else None,
        last_year=message.last_year if message.HasField("last_year") else None,
    )


def _year_faults(message: query_pb2.Filter) -> dict[str, str]:
    """What is wrong with the years of a filter, by field."""
    wrong = {
        f"filter.{name}": f"is {year}; must be from 0 to {LAST_YEAR}"
        for name in ("first_year", "last_year")
        if not 0 <= (year := getattr(message, name)) <= LAST_YEAR
    }
    if not wrong and message.HasField("last_year") and message.last_year < message.first_year:
        wrong["filter.last_year"] = f"is {message.last_year}, before first_year, {message.first_year}"
    return wrong


def _faults(entries: Sequence[str], most: int) -> list[str]:
    """What is wrong with one list of a filter, in words that hold none of its entries."""
    faults = []
    if len(entries) > most:
        faults.append(f"has {len(entries):,} entries; at most {most:,} are allowed")
    if not all(map(str.strip, entries)):
        faults.append("has a blank entry")
    if (longest := max(map(len, entries), default=0)) > config.MAX_FILTER_CHARS:
        faults.append(f"has an entry of {longest:,} characters; at most {config.MAX_FILTER_CHARS:,} are allowed")
    return faults


def _policy(request: query_pb2.AskRequest | query_pb2.SearchRequest, wrong: dict[str, str]) -> CachePolicy:
    use_cache = request.use_cache if request.HasField("use_cache") else True
    if request.refresh and not use_cache:
        wrong["refresh"] = "contradicts use_cache = false"
    if not use_cache:
        return BYPASS
    return REFRESH if request.refresh else USE


def _ask_config(message: query_pb2.AskConfig, defaults: Defaults, wrong: dict[str, str]) -> AskConfig:
    values = dataclasses.asdict(defaults) | _set_fields(message, AskConfig)
    wrong |= {f"config.{name}": why for name, why in config.violations(AskConfig, values).items()}
    if values["generator"] not in GENERATORS:
        wrong["config.generator"] = f"{message.generator[:40]!r} is none of: {', '.join(GENERATORS)}"
    if len(values["reranker"]) > config.MAX_RERANKER_CHARS:
        wrong["config.reranker"] = (
            f"has {len(values['reranker']):,} characters; at most {config.MAX_RERANKER_CHARS:,} are allowed"
        )
    elif not is_reranker(values["reranker"]):
        wrong["config.reranker"] = f"{values['reranker'][:40]!r} is none of: {', '.join(RERANKERS)}"
    return AskConfig(**values)


def _set_fields(message: Message, kind: type[AskConfig] | type[SearchConfig]) -> dict[str, Any]:
    """The fields of `message` that are settings of `kind` and are set."""
    return {
        field.name: getattr(message, field.name) for field in dataclasses.fields(kind) if message.HasField(field.name)
    }


def _raise_if(wrong: Mapping[str, str]) -> None:
    if wrong:
        raise InvalidRequest(violations=wrong)


def config_message(effective: AskConfig) -> query_pb2.AskConfig:
    """The settings in effect, every field set."""
    return query_pb2.AskConfig(**dataclasses.asdict(effective))


def _source(rank: int, score: float, candidate: Candidate, record: PassageRecord) -> resources_pb2.Source:
    return resources_pb2.Source(
        rank=rank,
        score=score,
        bm25_score=candidate.bm25,
        vector_score=candidate.vector,
        passage=passage_message(record),
    )


def passage_message(record: PassageRecord) -> resources_pb2.Passage:
    """A passage."""
    # Not dataclasses.asdict, which copies, and would take most of a search's conversion.
    return resources_pb2.Passage(**vars(record))


def _citation(citation: Citation) -> resources_pb2.Citation:
    record = citation.record
    return resources_pb2.Citation(
        source_rank=citation.source,
        passage_id=record.passage_id,
        document_id=record.document_id,
        title=record.title,
        section=record.section,
        page=record.first_page,
        start_byte=citation.start_byte,
        end_byte=citation.end_byte,
        quote=citation.quote,
    )
