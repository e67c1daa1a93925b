"""Options that several commands share."""

import functools
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from rag_client import deadlines
from rag_papers.errors import InvalidRequest

if TYPE_CHECKING:
    from rag_client import IngestClient, QueryClient

P = ParamSpec("P")
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


class _Age(click.ParamType[timedelta]):
    """A span of time: a number with s, m, h or d behind it."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The span that `value` stands for."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", str(value).strip())
        if not match:
            self.fail(f"{value!r} is no age: write 90s, 30m, 12h or 7d", param, ctx)
        seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        try:
            return timedelta(seconds=seconds)
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


AGE = _Age()
"""The type of an option that is an age."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print the response as JSON.")


def with_ingest_client(
    deadline: float | None = deadlines.UNARY,
) -> Callable[[Callable[Concatenate["IngestClient", bool, P], None]], Callable[..., None]]:
    """Opens an IngestClient and passes it, and whether --json was given, to the command.

    `deadline` is the default of --timeout; None leaves the option away.
    """

    def connect(address: str | None, timeout: float | None) -> "IngestClient":
        from rag_client import IngestClient

        return IngestClient(address, timeout=timeout)

    return _with_client("ingest", "IngestService", connect, deadline)


def with_query_client(
    deadline: float = deadlines.UNARY,
) -> Callable[[Callable[Concatenate["QueryClient", bool, P], None]], Callable[..., None]]:
    """Opens a QueryClient and passes it, and whether --json was given, to the command.

    `deadline` is the default of --timeout.
    """

    def connect(address: str | None, timeout: float | None) -> "QueryClient":
        from rag_client import QueryClient

        return QueryClient(address, timeout=timeout)

    return _with_client("query", "QueryService", connect, deadline)


def _with_client(
    name: str,
    service: str,
    connect: Callable[[str | None, float | None], AbstractContextManager[C]],
    deadline: float | None,
) -> Callable[[Callable[Concatenate[C, bool, P], None]], Callable[..., None]]:
    def decorate(command: Callable[Concatenate[C, bool, P], None]) -> Callable[..., None]:
        @json_option
        @address_option(name, service, "address")
        @functools.wraps(command)
        def connected(
            *args: Any, address: str | None, as_json: bool, timeout: float | None = None, **kwargs: Any
        ) -> None:
            quieten_grpc()
            with connect(address, timeout) as client:
                command(client, as_json, *args, **kwargs)

        return connected if deadline is None else timeout_option(deadline, "Longest that the call may take.")(connected)

    return decorate


def address_option(name: str, service: str, parameter: str) -> Callable[[F], F]:
    """--ingest-address or --query-address, or what the environment says; passed on as `parameter`."""
    return click.option(
        f"--{name}-address",
        parameter,
        metavar="HOST:PORT",
        envvar=f"RAG_{name.upper()}_ADDRESS",
        show_envvar=True,
        help=f"Where {service} is.",
    )


def quieten_grpc() -> None:
    """Before gRPC is loaded: what it logs of broken connections is said again, in words, by the command."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def timeout_option(default: float, help: str) -> Callable[[F], F]:
    """--timeout SECONDS."""
    return click.option("--timeout", type=float, metavar="SECONDS", default=default, show_default=True, help=help)


def cache_options(command: F) -> Callable[..., None]:
    """--no-cache and --refresh, passed on as the contract's use_cache and refresh."""

    @click.option("--refresh", is_flag=True, help="Compute anew and replace what is cached.")
    @click.option("--no-cache", is_flag=True, help="Neither read nor write any cache.")
    @functools.wraps(command)
    def checked(*args: Any, no_cache: bool, refresh: bool, **kwargs: Any) -> None:
        if no_cache and refresh:
            raise click.UsageError("--no-cache and --refresh exclude each other")
        command(*args, use_cache=False if no_cache else None, refresh=refresh, **kwargs)

    return checked


def filter_options(command: F) -> Callable[..., None]:
    """--document, --path, --from-year and --to-year, passed on as the contract's filter."""

    @click.option("--to-year", "last_year", type=int, metavar="YEAR", help="Only papers known to be of then or before.")
    @click.option(
        "--from-year", "first_year", type=int, metavar="YEAR", help="Only papers known to be of then or later."
    )
    @click.option(
        "--path", "path_prefixes", multiple=True, metavar="PREFIX", help="Only papers whose path begins so; repeatable."
    )
    @click.option("--document", "document_ids", multiple=True, metavar="ID", help="Only this document; repeatable.")
    @functools.wraps(command)
    def filtered(
        *args: Any,
        document_ids: tuple[str, ...],
        path_prefixes: tuple[str, ...],
        first_year: int | None,
        last_year: int | None,
        **kwargs: Any,
    ) -> None:
        from rag_papers.v1.query_pb2 import Filter

        try:
            wanted = Filter(
                document_ids=document_ids, path_prefixes=path_prefixes, first_year=first_year, last_year=last_year
            )
        except ValueError as error:  # an argument is no Unicode, or no number that the field holds
            raise InvalidRequest(str(error)) from error
        command(*args, filter=wanted if wanted.ByteSize() else None, **kwargs)

    return filtered


def retrieval_options(command: F) -> F:
    """Where to look, and how the ranking is made."""
    # What the field holds; the service says which of it is too much.
    held = click.IntRange(-(1 << 31), (1 << 31) - 1)
    return corpus_options(
        click.option("--top-k", type=held, metavar="N", help="Passages to retrieve.")(weight_options(command))
    )


def config_options(command: F) -> Callable[..., None]:
    """How an answer is made, passed on as the contract's config, and where from."""

    @click.option("--generator", metavar="NAME", help="extractive or openai; default: the service's setting.")
    @click.option(
        "--reranker",
        metavar="NAME",
        help="best-sentence, none or cross-encoder:MODEL; default: the service's setting.",
    )
    @click.option(
        "--abstain-threshold",
        type=float,
        metavar="S",
        help="Least strength of evidence for an answer, 0 to 1; default: the service's setting.",
    )
    @retrieval_options
    @functools.wraps(command)
    def configured(
        *args: Any,
        top_k: int | None,
        bm25_weight: float | None,
        vector_weight: float | None,
        exact: bool | None,
        reranker: str | None,
        abstain_threshold: float | None,
        generator: str | None,
        **kwargs: Any,
    ) -> None:
        from rag_papers.v1.query_pb2 import AskConfig

        config = AskConfig(
            top_k_first=top_k,
            bm25_weight=bm25_weight,
            vector_weight=vector_weight,
            exact=exact,
            reranker=reranker,
            abstain_threshold=abstain_threshold,
            generator=generator,
        )
        command(*args, config=config, **kwargs)

    return configured


def weight_options(command: F) -> F:
    """--bm25-weight and --vector-weight."""
    for option in (
        click.option(
            "--exact", is_flag=True, default=None, help="Compare all vectors, also where an approximate index exists."
        ),
        click.option("--vector-weight", type=float, help="Weight of the vectors in the ranking."),
        click.option("--bm25-weight", type=float, help="Weight of BM25 in the ranking."),
    ):
        command = option(command)
    return command


def corpus_options(command: F) -> F:
    """--corpus and --corpus-id."""
    for option in (
        click.option("--corpus-id", default="", metavar="ID", help="A version; default: the active one."),
        click.option("--corpus", default="", metavar="NAME", help="The corpus; default: the one published last."),
    ):
        command = option(command)
    return command
