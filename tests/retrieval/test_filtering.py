import pytest

from rag_papers.retrieval.filtering import Documents, Filter

DOCUMENTS = Documents(
    ids=["b", "a", "caf\u00e9", "empty"],
    paths=["2015/b.md", "2016/a.md", "2015/cafe\u0301.md", "2017"],
    years=[2015, 0, 2016, 2017],
    passage_counts=[2, 1, 3, 0],
)


@pytest.mark.parametrize(
    ("ids", "prefixes", "positions"),
    [
        ((), (), [0, 1, 2, 3, 4, 5]),
        (("a",), (), [2]),
        (("b", "a"), (), [0, 1, 2]),
        (("cafe\u0301",), (), [3, 4, 5]),
        ((), ("2015/",), [0, 1, 3, 4, 5]),
        ((), ("2015/caf\u00e9",), [3, 4, 5]),
        ((), ("2015/cafe",), []),
        ((), ("2015/b", "2016/a.md"), [0, 1, 2]),
        ((), ("2", "2015/"), [0, 1, 2, 3, 4, 5]),
        (("a", "b"), ("2015/",), [0, 1]),
        (("a",), ("2015/",), []),
        (("A",), (), []),
        (("",), (), []),
        (("empty",), (), []),
        ((), ("015",), []),
        ((), ("2016/a.md.",), []),
    ],
)
def test_positions(ids: tuple[str, ...], prefixes: tuple[str, ...], positions: list[int]) -> None:
    assert DOCUMENTS.positions(Filter(document_ids=ids, path_prefixes=prefixes)).tolist() == positions


@pytest.mark.parametrize(
    ("first", "last", "positions"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (2015, 2015, [0, 1]),
        (2016, None, [3, 4, 5]),
        (None, 2015, [0, 1]),
        (0, None, [0, 1, 3, 4, 5]),
        (None, 9999, [0, 1, 3, 4, 5]),
        (0, 0, []),
        (None, 0, []),
        (2018, None, []),
        (2017, 2017, []),
    ],
)
def test_years_are_inclusive_and_leave_out_what_has_none(
    first: int | None, last: int | None, positions: list[int]
) -> None:
    assert DOCUMENTS.positions(Filter(first_year=first, last_year=last)).tolist() == positions
    both = Filter(first_year=first, last_year=last, document_ids=("b",))
    assert DOCUMENTS.positions(both).tolist() == [position for position in positions if position < 2]


def test_documents_with_the_same_id_or_path_count_together() -> None:
    documents = Documents(
        ids=["x", "y", "x"], paths=["c.jsonl", "c.jsonl", "d.jsonl"], years=[0, 0, 0], passage_counts=[1, 2, 1]
    )
    assert documents.positions(Filter(document_ids=("x",))).tolist() == [0, 3]
    assert documents.positions(Filter(path_prefixes=("c",))).tolist() == [0, 1, 2]


def test_order_repeats_and_spelling_do_not_matter() -> None:
    filter = Filter(document_ids=("b", "caf\u00e9", "a"), path_prefixes=("y", "x"))
    assert filter == Filter(document_ids=("a", "cafe\u0301", "b", "caf\u00e9"), path_prefixes=("x", "y", "x"))
    assert filter != Filter(document_ids=filter.path_prefixes, path_prefixes=filter.document_ids)


def test_a_filter_without_entries_leaves_nothing_out() -> None:
    assert not Filter()
    assert Filter(document_ids=("a",))
    assert Filter(path_prefixes=("a",))
    assert Filter(first_year=0)
    assert Filter(last_year=0)
