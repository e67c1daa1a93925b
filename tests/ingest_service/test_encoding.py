import pytest

from ingest_service.readers.encoding import decode

GERMAN = "Die Größe der Wörter hängt von den Bäumen ab, über die wir früher schon öfter gehört haben. " * 8
RUSSIAN = "Мы показываем, что предложенный метод работает лучше других на всех наборах данных. " * 8
JAPANESE = "この論文では、新しい手法を提案し、その有効性を実験によって示します。結果は良好でした。" * 8
CHINESE = "本文提出了一种新的方法，并通过实验证明了其有效性。结果表明该方法优于其他方法。" * 8


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    read = decode(mark + "naïve 论文".encode(encoding))
    assert read is not None
    assert (read.text, read.guessed) == ("naïve 论文", "")


def test_utf8_is_never_guessed_and_keeps_its_byte_order_mark() -> None:
    for text in ("plain", "naïve 论文", "\ufeffmarked"):
        read = decode(text.encode())
        assert read is not None
        assert (read.text, read.guessed) == (text, "")


@pytest.mark.parametrize(
    ("text", "encoding"), [(GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (JAPANESE, "shift_jis"), (CHINESE, "gb18030")]
)
def test_an_encoding_without_a_mark_is_read_right_and_noted_or_refused(text: str, encoding: str) -> None:
    read = decode(text.encode(encoding))
    assert read is None or (read.text == text and read.guessed)


def test_western_texts_are_told_by_their_bytes() -> None:
    read = decode(GERMAN.encode("cp1252"))
    assert read is not None
    assert read.text == GERMAN


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"abc\xff\n",
        bytes(range(256)) * 8,
        b"\x89PNG\r\n\x1a\n" + bytes(range(255, 0, -1)) * 4,
        b"\xff\xfeodd",
        "half of a pair \ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_what_is_no_text_or_too_short_to_tell_is_refused(data: bytes) -> None:
    assert decode(data) is None


def test_what_the_format_declares_goes_before_a_guess_and_must_be_true() -> None:
    read = decode(GERMAN.encode("cp1252"), "cp1252")
    assert read is not None and read.text == GERMAN and not read.guessed
    assert decode(b"caf\xe9", "ascii") is None
    assert decode(b"caf\xe9", "no-such-encoding") is None
