import concurrent.futures

import pytest

from rag_papers.retrieval.analysis import STOP_WORDS, normalise, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n\t ", []),
        ("... !? — ()", []),
        ("Transformers", ["transform"]),
        ("training trains trained", ["train", "train", "train"]),
        # What is short may be what a paper is about.
        ("F1 AI C R T5 k", ["f1", "ai", "c", "r", "t5", "k"]),
        ("C++ and C#", ["c", "c"]),
        ("The cat is on the mat", ["cat", "mat"]),
        ("THE And oF", []),
        # Numbers, whole and by part.
        ("2017", ["2017"]),
        ("0.05", ["0.05", "0", "05"]),
        ("v1.2.3", ["v1.2.3", "v1", "2", "3"]),
        ("ends in 5.", ["end", "5"]),
        # Joined words, by part, and whole where a part says little.
        ("fine-tuning", ["fine", "tune"]),
        ("IL-6", ["il-6", "il", "6"]),
        ("state-of-the-art", ["state-of-the-art", "state", "art"]),
        ("COVID-19", ["covid-19", "covid", "19"]),
        ("t-test", ["t-test", "test"]),
        ("all-MiniLM-L6-v2", ["all-minilm-l6-v2", "minilm", "l6", "v2"]),
        ("- dash -- dashes -", ["dash", "dash"]),
        # Apostrophes.
        ("BERT's", ["bert"]),
        ("BERT’s", ["bert"]),
        ("O'Reilly O'Reilly's", ["oreilli", "oreilli"]),
        ("don't", ["dont"]),
        # Compatibility characters and symbols that are letters.
        ("ﬁne ﬀ", ["fine", "ff"]),
        ("ＢＥＲＴ", ["bert"]),
        ("𝐱 ℝ ™", ["x", "r", "tm"]),
        ("x²", ["x2"]),
        # Accents.
        ("naïve café Ångström", ["naiv", "cafe", "angstrom"]),
        ("nai\u0308ve cafe\u0301", ["naiv", "cafe"]),
        ("straße STRASSE", ["strass", "strass"]),
        ("İstanbul", ["istanbul"]),
        # Other scripts.
        ("Αθήνα", ["αθηνα"]),
        ("Привет, Мир", ["привет", "мир"]),
        ("الشبكات العصبية", ["الشبكات", "العصبية"]),
        ("शोध हिन्दी", ["शध", "हनद"]),
        ("ภาษาไทย", ["ภาษาไทย"]),
        ("مَدرَسة", ["مدرسة"]),
        # Chinese, Japanese and Korean: pairs of neighbours.
        ("深度学习", ["深度", "度学", "学习"]),
        ("深", ["深"]),
        ("深度。学习", ["深度", "学习"]),
        ("用BERT做分类", ["用", "bert", "做分", "分类"]),
        ("한국어", ["한국", "국어"]),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165", ["한국", "국어"]),
        ("ニューラル", ["ニュ", "ュー", "ーラ", "ラル"]),
        ("ﾆｭｰﾗﾙ", ["ニュ", "ュー", "ーラ", "ラル"]),
        # What stands between words.
        ("snake_case", ["snake", "case"]),
        ("and/or e-mail@host", ["e-mail", "e", "mail", "host"]),
        ("\N{ROCKET}launch\N{ROCKET}", ["launch"]),
        ("nul\0byte", ["nul", "byte"]),
        ("trans\N{SOFT HYPHEN}former", ["transform"]),
        ("lone\ud800surrogate", ["lone", "surrog"]),
    ],
)
def test_terms_of(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize("hyphen", ["-", "\N{HYPHEN}", "\N{NON-BREAKING HYPHEN}"])
def test_hyphens_of_keyboards_and_typesetters_are_one(hyphen: str) -> None:
    assert terms(f"pre{hyphen}training") == ["pre", "train"]


def test_order_and_repeats_are_kept() -> None:
    assert terms("model data model") == ["model", "data", "model"]


def test_every_stop_word_is_one_however_it_is_written() -> None:
    for word in STOP_WORDS:
        assert terms(word) == terms(word.upper()) == terms(f"{word}.") == []


def test_all_threads_find_the_same() -> None:
    texts = [f"generalisations optimising{number} networks' relational-{number}" for number in range(2000)]
    expected = [terms(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(terms, texts)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a \n\t b  ", "a b"),
        ("cafe\u0301", "caf\u00e9"),
        ("", ""),
        ("a\u3000b\u00a0c", "a b c"),
        ("Case Stays ﬁ", "Case Stays ﬁ"),
    ],
)
def test_queries_that_look_the_same_are_the_same(text: str, expected: str) -> None:
    assert normalise(text) == expected == normalise(expected)
