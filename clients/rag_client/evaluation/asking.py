"""Asking many questions: some at once, in order, each failure under the name of its question."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from rag_papers.errors import InvalidRequest

T = TypeVar("T")
R = TypeVar("R")


def ask_all(call: Callable[[T], R], items: Sequence[T], concurrency: int, advance: Callable[[], None]) -> list[R]:
    """What `call` makes of each item, in their order, at most `concurrency` at once.

    `advance` is called for every one that is done. The first failure ends it all.
    """
    results = []
    with ThreadPoolExecutor(concurrency) as threads:
        for result in threads.map(call, items):
            results.append(result)
            advance()
    return results


@contextmanager
def named(question: str) -> Iterator[None]:
    """Says in a refusal which question was refused."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"query {question!r}: {error.message}", error.violations) from error
