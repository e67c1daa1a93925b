"""Answers and passages for people: what is said, and where it stands in the papers."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import click

from rag_client.cli.output import fields
from rag_client.cli.text import clean, duration, shorten, wrap

if TYPE_CHECKING:
    from rag_papers.v1.query_pb2 import AskResponse, SearchResponse
    from rag_papers.v1.resources_pb2 import CacheInfo, Citation, Passage

SNIPPET = 300
"""Characters of a passage that a search shows; --json has the whole."""
AROUND = 120
"""Characters on either side of a quote that a terminal shows."""

_ON, _OFF = "\ue000", "\ue001"  # of private use; they stand where a quote begins and ends while lines are broken


def answer(response: "AskResponse", *, explain: bool) -> Iterator[str]:
    """An answer with its citations; with `explain` also how it came about."""
    if response.resolved_query:
        yield wrap(click.style(f"Understood as: {clean(response.resolved_query)}", dim=True)) + "\n"
    marks: dict[tuple[str, int, int], int] = {}
    cited: list[Citation] = []
    said = []
    for sentence in response.sentences:
        numbers = []
        for citation in sentence.citations:
            key = (citation.passage_id, citation.start_byte, citation.end_byte)
            if key not in marks:
                cited.append(citation)
                marks[key] = len(cited)
            numbers.append(f"[{marks[key]}]")
        doubt = [] if sentence.supported else ["[unsupported]"]
        said.extend([clean(sentence.text), *(["".join(numbers)] if numbers else []), *doubt])
    yield wrap(" ".join(said) or clean(response.answer))
    if cited:
        yield f"\n{click.style('Sources', bold=True)}"
        passages = {source.passage.passage_id: source.passage for source in response.sources}
        for number, citation in enumerate(cited, start=1):
            passage = passages.get(citation.passage_id)
            path = passage.path if passage else citation.document_id
            yield f"  [{number}] {_place(citation.title, citation.section, citation.page, citation.page)}"
            yield f"      {_bytes(path, citation.start_byte, citation.end_byte)}"
            yield _quoted(citation, passage)
    yield f"\n{_verdict(response)}"
    if explain:
        yield ""
        yield from _explanation(response)


def passages(response: "SearchResponse") -> Iterator[str]:
    """Retrieved passages, best first."""
    for source in response.sources:
        passage = source.passage
        place = _place(passage.title, passage.section, passage.first_page, passage.last_page)
        yield f"{source.rank:>3}. {place}"
        yield f"     {_bytes(passage.path, passage.start_byte, passage.end_byte)}"
        yield f"     score {source.score:.3f}, BM25 {source.bm25_score:.3f}, cosine {source.vector_score:.3f}"
        yield f"{wrap(shorten(passage.text, SNIPPET), indent='     ')}\n"
    yield " · ".join(
        [
            f"{clean(response.corpus)} {response.corpus_id}",
            _cached(response.cache),
            duration(response.timings_ms.get("total", 0.0)),
        ]
    )


def _quoted(citation: "Citation", passage: "Passage | None") -> str:
    """The quoted bytes; on a terminal highlighted in what stands around them."""
    quote = clean(citation.quote)
    if passage is None or not sys.stdout.isatty():
        return wrap(f"“{quote}”", indent="      ")
    data = passage.text.encode()
    before = data[: citation.start_byte - passage.start_byte].decode(errors="ignore")
    after = data[citation.end_byte - passage.start_byte :].decode(errors="ignore")
    around = [_shortened(before[::-1])[::-1], f"{_ON}{quote}{_OFF}", _shortened(after)]
    # Broken into lines before it is highlighted: what highlights has no width.
    lines = wrap(" ".join(filter(None, around)), indent="      ")
    return lines.replace(_ON, "\x1b[1m").replace(_OFF, "\x1b[22m")


def _shortened(text: str) -> str:
    """What fits of the text beside a quote."""
    return shorten(text.replace(_ON, "").replace(_OFF, ""), AROUND)


def _place(title: str, section: str, first_page: int, last_page: int) -> str:
    title, section = clean(title) or "(untitled)", clean(section)
    pages = f"p. {first_page}" if first_page == last_page else f"pp. {first_page}-{last_page}"
    return ", ".join([click.style(title, bold=True), *([section] if section else []), *([pages] if first_page else [])])


def _bytes(path: str, start: int, end: int) -> str:
    return click.style(f"{clean(path)}, bytes {start}-{end}", dim=True)


def _cached(cache: "CacheInfo") -> str:
    from rag_papers.v1.resources_pb2 import ANSWER_ORIGIN_REVALIDATED

    if cache.answer_hit:
        return f"answer from cache, {duration(cache.age_ms)} old"
    if cache.retrieval_hit:
        return f"ranking from cache, {duration(cache.age_ms)} old"
    if cache.answer_origin == ANSWER_ORIGIN_REVALIDATED:
        return "text of an earlier version, the same evidence"
    return "question's vector from cache" if cache.embed_hits and not cache.embed_misses else "nothing from cache"


def _verdict(response: "AskResponse") -> str:
    from rag_client.words import word
    from rag_papers.v1.query_pb2 import AbstainReason, AnswerIssue, AnswerStatus

    status = word(AnswerStatus, response.status)
    reasons = [word(AnswerIssue, issue) for issue in response.issues]
    if response.abstain_reason:
        reasons.insert(0, word(AbstainReason, response.abstain_reason))
    return " · ".join(
        [
            f"{status}: {', '.join(reasons)}" if reasons else status,
            f"score {response.score:.2f}",
            clean(response.intent),
            _cached(response.cache),
            duration(response.timings_ms.get("total", 0.0)),
            *([f"no time for: {', '.join(map(clean, response.steps_skipped))}"] if response.steps_skipped else []),
            *([f"turn {response.turn} of {clean(response.session_id)}"] if response.session_id else []),
        ]
    )


def _explanation(response: "AskResponse") -> Iterator[str]:
    yield from fields(
        [
            ("Path", " > ".join(map(clean, response.path)) + (" (repaired)" if response.repair_used else "")),
            *_steps(response.path, response.timings_ms),
            ("Context", f"{response.context_chars} of at most {response.config.context_max_chars} characters"),
            ("Threshold", f"{response.config.accept_threshold:g}"),
            ("Generator", clean(response.generator)),
            ("Corpus", f"{clean(response.corpus)} {response.corpus_id}"),
            ("Trace", clean(response.trace_id)),
        ],
        indent="",
    )


def _steps(path: Iterable[str], timings: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    # In the order they ran first; a step that ran twice has one, summed, time.
    order = {step: position for position, step in reversed(list(enumerate(path)))}
    for step in sorted(timings, key=lambda step: (order.get(step, len(order)), step == "total", step)):
        yield f"  {clean(step)}", duration(timings[step])
