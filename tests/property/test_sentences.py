from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.sentences import sentences

WORDS = ["Fig. ", "et al. ", "e.g. ", "A. ", "3.5 ", "word ", "Word ", "深度", "é"]
MARKS = [". ", "...", "! ", "。", "？”", "؟ ", '"', ")"]
SPACES = [" ", "\n", "\n\n", "\r\n\r\n", "\ufeff", "\x1c", "\u2028"]
texts = st.text(max_size=200) | st.lists(
    st.sampled_from(WORDS + MARKS + SPACES) | st.text(max_size=3), max_size=40
).map("".join)


@settings(deadline=None, max_examples=300)
@given(texts)
@example("\n\n. . .\n\n")
@example("\ufeff\ufeff.\ufeff. a")
def test_spans_are_in_order_and_hold_everything_but_space(text: str) -> None:
    end = 0
    for span in sentences(text):
        assert end <= span.start < span.end <= len(text)
        assert text[end : span.start].replace("\ufeff", " ").isspace() or end == span.start
        assert not text[span.start].isspace() and not text[span.end - 1].isspace()
        end = span.end
    rest = text[end:].replace("\ufeff", " ")
    assert rest.isspace() or not rest
