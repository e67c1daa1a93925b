import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.retrieval.analysis import normalise, terms

bounded = settings(deadline=None, max_examples=200)


@bounded
@given(st.text())
def test_terms_do_not_depend_on_how_characters_are_composed(text: str) -> None:
    assert terms(unicodedata.normalize("NFD", text)) == terms(unicodedata.normalize("NFC", text)) == terms(text)


@bounded
@given(st.text())
def test_terms_are_words_in_lower_case(text: str) -> None:
    for term in terms(text):
        assert term == term.lower() != ""
        assert not any(character.isspace() for character in term)


@bounded
@given(st.text())
def test_texts_that_are_compared_as_equal_have_equal_terms(text: str) -> None:
    assert terms(normalise(text)) == terms(text)
    assert normalise(normalise(text)) == normalise(text)
