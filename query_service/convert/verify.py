"""The messages of Verify."""

from collections.abc import Sequence

from query_service.config import Defaults
from query_service.convert import common
from query_service.verification.verifying import Claim, Verified
from rag_papers.errors import InvalidRequest
from rag_papers.persist.index_store import PassageRecord
from rag_papers.v1 import query_pb2, resources_pb2

MAX_ANSWER_CHARS = 10_000
"""Longest answer that is judged."""
MAX_PASSAGES = 100
"""Most passages that may be given."""
MAX_PASSAGE_CHARS = 100_000
"""Most characters of all of them: every sentence of the answer is compared with every one of theirs."""


def claim(request: query_pb2.VerifyRequest, max_query_chars: int, defaults: Defaults) -> Claim:
    """A valid VerifyRequest; `defaults` are those of settings which it leaves unset.

    Raises InvalidRequest that names everything wrong with it.
    """
    asked = query_pb2.AskRequest(
        query=request.query,
        intent=request.intent,
        corpus=request.corpus,
        corpus_id=request.corpus_id,
        filter=request.filter,
        config=request.config,
    )
    wrong: dict[str, str] = {}
    if len(request.answer) > MAX_ANSWER_CHARS:
        wrong["answer"] = f"has {len(request.answer):,} characters; at most {MAX_ANSWER_CHARS:,} are allowed"
    if faults := _passage_faults(request):
        wrong["passages"] = "; ".join(faults)
    try:
        ask = common.ask(asked, max_query_chars, defaults)
    except InvalidRequest as error:
        raise InvalidRequest(violations=wrong | error.violations) from None
    if wrong:
        raise InvalidRequest(violations=wrong)
    return Claim(answer=request.answer, ask=ask, passages=_records(request.passages))


def verify_response(verified: Verified, intent: str, trace_id: str) -> query_pb2.VerifyResponse:
    """The response to a verification."""
    verdict = verified.verdict
    return query_pb2.VerifyResponse(
        score=verdict.score,
        accepted=verified.is_accepted,
        issues=common.issues(verdict.issues),
        sentences=common.judged_sentences(verified.sentences, verdict.sentences),
        declines=verdict.declines,
        intent=intent,
        passages=map(common.passage_message, verified.passages),
        corpus=verified.corpus,
        corpus_id=verified.corpus_id,
        trace_id=trace_id,
    )


def _passage_faults(request: query_pb2.VerifyRequest) -> list[str]:
    """What is wrong with the passages that are given, in words that hold nothing of them."""
    passages = request.passages
    if not passages:
        return []
    faults = []
    if request.corpus or request.corpus_id or request.HasField("filter"):
        faults.append("contradict corpus, corpus_id and filter")
    if len(passages) > MAX_PASSAGES:
        faults.append(f"are {len(passages):,}; at most {MAX_PASSAGES} are allowed")
    if (size := sum(len(passage.text) for passage in passages)) > MAX_PASSAGE_CHARS:
        faults.append(f"have {size:,} characters; at most {MAX_PASSAGE_CHARS:,} are allowed")
    if not all(passage.text.strip() for passage in passages):
        faults.append("have a blank text")
    if any(passage.start_byte < 0 for passage in passages):
        faults.append("have a negative start_byte")
    ids = [passage.passage_id for passage in passages if passage.passage_id]
    if len(set(ids)) < len(ids):
        faults.append("have one passage_id twice")
    return faults


def _records(passages: Sequence[resources_pb2.Passage]) -> tuple[PassageRecord, ...]:
    taken = {passage.passage_id for passage in passages}
    return tuple(
        PassageRecord(
            passage_id=passage.passage_id or _made_up(number, taken),
            document_id=passage.document_id,
            title=passage.title,
            path=passage.path,
            section=passage.section,
            first_page=passage.first_page,
            last_page=passage.last_page,
            start_byte=passage.start_byte,
            end_byte=passage.start_byte + len(passage.text.encode()),
            text=passage.text,
        )
        for number, passage in enumerate(passages, start=1)
    )


def _made_up(number: int, taken: set[str]) -> str:
    """An id for the `number`th passage that no other one has."""
    made = f"#{number}"
    while made in taken:
        made = f"#{made}"
    return made
