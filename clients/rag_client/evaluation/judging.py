"""What an answer holds of what was expected: keywords, and citations of the right place."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rag_client.evaluation.dataset import GoldSpan

if TYPE_CHECKING:
    from rag_papers.v1.query_pb2 import AskResponse
    from rag_papers.v1.resources_pb2 import Citation, Passage

# Chinese, Japanese and Korean words do not stand apart.
_APART = r"(?<![^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])"


def keyword_recall(answer: str, keywords: Sequence[str]) -> float | None:
    """Share of the keywords that the answer holds, in [0, 1]; None if none is expected.

    Case, width and the kind of white space do not matter. A keyword stands at the beginning of a word and may have an
    ending: "network" is found in "networks", and not in "subnetwork"; "IL-6" is not found in "IL-60".
    """
    if not keywords:
        return None
    text = _plain(answer)
    return sum(_holds(text, _plain(keyword)) for keyword in keywords) / len(keywords)


def citation_rank(response: "AskResponse", gold: Sequence[GoldSpan]) -> int | None:
    """The number, from 1, of the first sentence with a citation that overlaps a gold span; None if there is none."""
    passages = {source.rank: source.passage for source in response.sources}
    for number, sentence in enumerate(response.sentences, start=1):
        for citation in sentence.citations:
            if any(_overlaps(citation, passages[citation.source_rank], span) for span in gold):
                return number
    return None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _holds(text: str, keyword: str) -> bool:
    end = r"(?!\d)" if keyword[-1].isdigit() else ""
    return re.search(_APART + re.escape(keyword) + end, text) is not None


def _overlaps(citation: "Citation", passage: "Passage", span: GoldSpan) -> bool:
    if citation.document_id != span.document_id:
        return False
    if any(start < citation.end_byte and citation.start_byte < end for start, end in _places(span, passage)):
        return True
    # A text may reach beyond the passage that is cited.
    return " ".join(citation.quote.split()) in " ".join(span.text.split())


def _places(span: GoldSpan, passage: "Passage") -> Iterator[tuple[int, int]]:
    """Where a span lies in the document, bytes; if it is a text, every place of it in the passage."""
    if not span.text:
        yield span.start_byte, span.end_byte
        return
    for match in re.finditer(r"\s+".join(map(re.escape, span.text.split())), passage.text):
        start = passage.start_byte + len(passage.text[: match.start()].encode())
        yield start, start + len(match.group().encode())
