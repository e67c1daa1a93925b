"""Chunking: documents to passages, runs of whole sentences that fit the encoder's window."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from ingest_service.readers.document import Document, PageStart, Section
from rag_papers.errors import Internal
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.encoders import Encoder
from rag_papers.retrieval.sentences import Span, sentences

MAX_PASSAGE_TOKENS = 256
"""Longest passage, also for encoders with a longer window: a longer one would blur what it is about."""

CHUNKER = f"sentences-3/{MAX_PASSAGE_TOKENS}"
"""Identity of the chunker; part of corpus_id, so changed whenever a document may give other passages."""

LONGEST_PASSAGE = 1 << 14
"""Characters of a passage, also of one that is a single token, as a tokenizer makes of what it does not know."""

_COUNTED_AT_ONCE = 1 << 20  # characters: a tokenizer takes some thirty bytes of memory for each

_SPACES = " \n\t\u3000"  # where a sentence that is too long is divided

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text for the encoder."""


def embedding_text(passage: PassageRecord) -> str:
    """What BM25 counts and, if it fits, the encoder embeds: title, section and text, a line each."""
    return "\n".join(part for part in (passage.title, passage.section, passage.text) if part)


def fitting_texts(passages: Sequence[PassageRecord], encoder: Encoder) -> list[str]:
    """What the encoder embeds, its prompt included: nothing of it lies beyond the window.

    Where title and section leave the text no room, which `chunk` allows for long ones, it is the text alone. Raises
    Internal if even that exceeds the window.
    """
    prompt = encoder.prompts.passage
    texts = [prompt + embedding_text(passage) for passage in passages]
    for position, tokens in enumerate(encoder.count_tokens(texts)):
        if tokens > encoder.max_tokens:
            texts[position] = prompt + passages[position].text
            (tokens,) = encoder.count_tokens([texts[position]])
            if tokens > encoder.max_tokens:
                raise Internal(f"passage {passages[position].passage_id} has {tokens} tokens: the chunker is at fault")
    return texts


def chunk(document: Document, path: str, *, max_tokens: int, count_tokens: CountTokens) -> list[PassageRecord]:
    """The passages of `document`, which lies in the file `path`.

    Every sentence lies in exactly one passage, and no passage has more than `max_tokens` tokens. Title and section have
    room too, unless they would take more than a third of it. A sentence that is too long alone is divided, and what has
    more than `LONGEST_PASSAGE` characters in any case: others take the square of its length for some of it.
    """
    window = min(max_tokens, MAX_PASSAGE_TOKENS)
    spans: list[tuple[str, Span]] = []
    for section in document.sections:
        (header,) = count_tokens([f"{document.title}\n{section.heading}"])
        budget = window - header if header <= window // 3 else window
        spans += [(section.heading, span) for span in _pack(document.text, section, budget, count_tokens)]
    starts = _byte_offsets(document.text, [span.start for _, span in spans])
    ends = _byte_offsets(document.text, [span.end for _, span in spans])
    return [
        PassageRecord(
            passage_id=f"{document.document_id}#{number}",
            document_id=document.document_id,
            title=document.title,
            path=path,
            section=heading,
            first_page=min(pages),
            last_page=max(pages),
            start_byte=start,
            end_byte=end,
            text=document.text[span.start : span.end],
        )
        for number, ((heading, span), start, end) in enumerate(zip(spans, starts, ends, strict=True))
        for pages in [_pages(document.pages, span)]
    ]


def _pages(pages: Sequence[PageStart], span: Span) -> list[int]:
    """The pages that the text of `span` stands on, in its order; [0] where there are none."""
    first = bisect_right(pages, span.start, key=lambda page: page.start) - 1
    after = bisect_left(pages, span.end, key=lambda page: page.start)
    return [page.page for page in pages[max(0, first) : after]] or [0]


def _pack(text: str, section: Section, budget: int, count_tokens: CountTokens) -> list[Span]:
    body = text[section.start : section.end]
    runs: list[list[Span]] = []
    used = 0
    for span, tokens in _fitting(body, sentences(body), budget, count_tokens):
        if runs and used + tokens <= budget:
            runs[-1].append(span)
            used += tokens
        else:
            runs.append([span])
            used = tokens
    joined = _joined(body, runs, budget, count_tokens)
    return [Span(section.start + span.start, section.start + span.end) for span in joined]


def _counted(text: str, spans: Sequence[Span], count_tokens: CountTokens) -> list[int]:
    """Tokens of each of the ascending `spans`."""
    counted: list[int] = []
    group: list[str] = []
    begin = 0
    for span in spans:
        if group and span.end - begin > _COUNTED_AT_ONCE:
            counted += count_tokens(group)
            group = []
        begin = begin if group else span.start
        group.append(text[span.start : span.end])
    return counted + count_tokens(group)


def _fitting(text: str, spans: Sequence[Span], budget: int, count_tokens: CountTokens) -> list[tuple[Span, int]]:
    """`spans` with their tokens, those over `budget` or `LONGEST_PASSAGE` divided in the middle until they fit."""
    short = [span for span in spans if span.end - span.start <= LONGEST_PASSAGE]
    counted = dict(zip(short, _counted(text, short, count_tokens), strict=True))
    found: list[tuple[Span, int]] = []
    for span in spans:
        tokens = counted.get(span)
        if tokens is not None and (tokens <= budget or span.end - span.start == 1):
            found.append((span, tokens))
        else:
            found += _fitting(text, _halves(text, span), budget, count_tokens)
    return found


def _joined(text: str, runs: Sequence[Sequence[Span]], budget: int, count_tokens: CountTokens) -> list[Span]:
    """Each run of spans as one. Tokens of neighbours may join into more than their sum: runs over `budget` are divided
    between two of their spans until they fit. So are those over `LONGEST_PASSAGE`: white space counts there as well.
    """
    whole = [Span(run[0].start, run[-1].end) for run in runs]
    counted = _counted(text, whole, count_tokens)
    found: list[Span] = []
    for run, span, tokens in zip(runs, whole, counted, strict=True):
        middle = len(run) // 2
        if (tokens <= budget and span.end - span.start <= LONGEST_PASSAGE) or not middle:
            found.append(span)
        else:
            found += _joined(text, [run[:middle], run[middle:]], budget, count_tokens)
    return found


def _halves(text: str, span: Span) -> list[Span]:
    middle = (span.start + span.end) // 2
    cuts = [text.rfind(space, span.start + 1, middle) for space in _SPACES]
    cuts += [text.find(space, middle, span.end - 1) for space in _SPACES]
    cut = min((cut for cut in cuts if cut > 0), key=lambda cut: abs(cut - middle), default=middle)
    left, right = text[span.start : cut], text[cut : span.end]
    halves = [Span(span.start, span.start + len(left.rstrip())), Span(span.end - len(right.lstrip()), span.end)]
    return [half for half in halves if half.start < half.end]


def _byte_offsets(text: str, positions: Sequence[int]) -> list[int]:
    """Where each of the ascending character `positions` lies in the UTF-8 bytes of `text`."""
    if text.isascii():
        return list(positions)
    offsets: list[int] = []
    last = offset = 0
    for position in positions:
        offset += len(text[last:position].encode())
        offsets.append(offset)
        last = position
    return offsets
