"""The generator `openai`: a language model behind any endpoint that speaks OpenAI's chat protocol."""

import asyncio
import contextlib
import ipaddress
import itertools
import logging
import math
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from query_service.evidence import by_source
from query_service.generators import prompt
from query_service.generators.base import Assignment, DraftSentence
from query_service.generators.growing import GrowingText
from query_service.stop import Stop
from query_service.verification.reading import declines
from rag_papers.errors import DeadlineExceeded, GeneratorFailed, GeneratorUnavailable, RagError
from rag_papers.settings import Settings

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

logger = logging.getLogger(__name__)

_ATTEMPTS = 4  # of a call that is refused with 429 or 5xx
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between them, doubled each time, less a random share of up to a half
_CHARS_A_TOKEN = 20  # more than tokens have; an endpoint that goes on beyond its limit is broken off
_CONNECT_SECONDS = 10.0
_SHOWN_CHARS = 200  # of what an endpoint says about a failure
_FINISHED = ("stop", "length")  # reasons to end an answer that leave it worth something
_THOUGHT, _THOUGHT_END = "<think>", "</think>"


class OpenAIGenerator:
    """Asks a chat model for an answer with [n] marks, and takes it in as it comes.

    The call, its retries and its pauses end when the caller leaves or its time is over, at once.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises GeneratorUnavailable if the library is missing or the settings do not name an endpoint and a model."""
        if not (settings.openai_base_url and settings.openai_model):
            raise GeneratorUnavailable(
                "the generator openai is not configured: set RAG_OPENAI_BASE_URL and RAG_OPENAI_MODEL of QueryService"
            )
        try:
            import openai
        except ImportError as error:
            raise GeneratorUnavailable(
                f"the openai client cannot be loaded ({error}): pip install 'rag-papers[openai]'"
            ) from error
        self._openai = openai
        self._url = settings.openai_base_url.rstrip("/")
        self._model = settings.openai_model
        self._key = settings.openai_api_key
        self._seconds = settings.openai_seconds
        self._max_tokens = settings.openai_max_tokens
        self._max_chars = _CHARS_A_TOKEN * settings.openai_max_tokens
        self._tls = ssl.create_default_context()  # reading the certificates takes longer than all else of a client

    @property
    def identity(self) -> str:
        """Versions of this code and of the prompt, model, endpoint, and the most tokens of an answer."""
        return f"openai-1 prompt-{prompt.PROMPT} {self._model} at {self._url} up to {self._max_tokens} tokens"

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """The model's answer, which may be that the passages do not answer the question.

        Raises DeadlineExceeded, GeneratorUnavailable and GeneratorFailed.
        """
        return asyncio.run(self._until_stopped(assignment))

    async def _until_stopped(self, assignment: Assignment) -> Sequence[DraftSentence]:
        stop = assignment.stop
        stop.check()
        loop, writing = asyncio.get_running_loop(), asyncio.ensure_future(self._write(assignment))

        def leave() -> None:
            with contextlib.suppress(RuntimeError):  # the client may leave when all is done and the loop is closed
                loop.call_soon_threadsafe(writing.cancel)

        try:
            with stop.when_client_leaves(leave):
                return await asyncio.wait_for(writing, self._patience(stop))
        except asyncio.CancelledError:
            raise DeadlineExceeded("the caller has gone") from None
        except TimeoutError:
            stop.check()
            raise GeneratorFailed(f"{self._url} did not answer within {self._seconds:g} s") from None

    def _patience(self, stop: Stop) -> float:
        """How long the answer may still take, seconds."""
        return min(self._seconds, stop.seconds_left)

    async def _write(self, assignment: Assignment) -> Sequence[DraftSentence]:
        written = GrowingText(by_source(assignment.evidence))
        draft: list[DraftSentence] = []

        def settle(sentences: Sequence[DraftSentence]) -> None:
            for sentence in sentences:
                draft.append(sentence)
                # What begins by saying that the papers do not say may become an abstention.
                if not declines(draft[0].text):
                    assignment.say(f" {sentence.text}" if len(draft) > 1 else sentence.text)

        async with self._client() as client, contextlib.aclosing(self._pieces(client, assignment)) as pieces:
            async for piece in _spoken(pieces):
                assignment.stop.check()
                settle(written.add(piece))
        settle(written.end())
        if not draft:
            raise GeneratorFailed(f"{self._url} answered nothing")
        return draft

    def _client(self) -> "AsyncOpenAI":
        # A model on this machine is never behind the proxy of the environment.
        by_proxy = not _is_loopback(urlsplit(self._url).hostname or "")
        http = self._openai.DefaultAsyncHttpxClient(trust_env=by_proxy, verify=self._tls)
        timeout = self._openai.Timeout(None, connect=_CONNECT_SECONDS)
        return self._openai.AsyncOpenAI(
            base_url=self._url, api_key=self._key or "none", http_client=http, timeout=timeout, max_retries=0
        )

    async def _pieces(self, client: "AsyncOpenAI", assignment: Assignment) -> AsyncGenerator[str, None]:
        """What the model writes, as it comes."""
        stream = await self._begin(client, assignment)
        length = 0
        # What comes after the end of the answer, if anything does, is not waited for.
        async with contextlib.aclosing(self._choices(stream)) as choices:
            async for content, finish in choices:
                yield content[: self._max_chars - length]
                length += len(content)
                if length >= self._max_chars:
                    logger.warning("the generator's answer is broken off after %d characters", self._max_chars)
                    return
                if finish in _FINISHED:
                    return
                if finish is not None:
                    raise GeneratorFailed(f"{self._url} ended the answer with {self._shown(finish)}")
        raise GeneratorFailed(f"{self._url} broke off in the middle of the answer")

    async def _begin(self, client: "AsyncOpenAI", assignment: Assignment) -> Any:
        """The stream of an answer; asks again where the endpoint is busy or fails, and nowhere else."""
        messages: Any = prompt.messages(assignment)  # plain ones, of role and content
        for attempt in itertools.count(1):
            try:
                return await client.chat.completions.create(
                    model=self._model,
                    messages=messages,
                    temperature=assignment.temperature,
                    seed=assignment.seed,
                    max_tokens=self._max_tokens,
                    stream=True,
                )
            except self._openai.APIStatusError as error:
                pause = _pause(attempt, error.response.headers.get("retry-after", ""))
                # A pause that is longer than there is time would be waited for in vain.
                if attempt == _ATTEMPTS or not _passes(error.status_code) or pause >= self._patience(assignment.stop):
                    raise self._refusal(error) from error
                logger.info("the generator answers %d; again in %.1f s", error.status_code, pause)
                await asyncio.sleep(pause)
            except self._openai.APIConnectionError as error:
                raise GeneratorUnavailable(f"nothing answers at {self._url}: {error.__cause__ or error}") from error
        raise AssertionError("count does not end")

    def _refusal(self, error: "APIStatusError") -> RagError:
        if error.status_code in (401, 403):
            return GeneratorUnavailable(
                f"{self._url} refuses the key ({error.status_code}): set RAG_OPENAI_API_KEY of QueryService"
            )
        said = f"{self._url} answers {error.status_code} to {self._model!r}: {self._shown(error.message)}"
        return GeneratorUnavailable(said) if error.status_code == 404 else GeneratorFailed(said)

    async def _choices(self, stream: Any) -> AsyncGenerator[tuple[str, str | None], None]:
        """The pieces of a stream: content, and why it ended if it is the last one."""
        try:
            async with stream:
                async for chunk in stream:
                    # The client checks nothing of what it reads.
                    for choice in chunk.choices[:1]:
                        content, finish = choice.delta.content or "", choice.finish_reason
                        if not isinstance(content, str):
                            raise TypeError("the content is no text")
                        yield content, finish
        except self._openai.APIConnectionError as error:
            raise GeneratorFailed(f"{self._url} broke off in the middle of the answer") from error
        except self._openai.APIError as error:
            said = f"{self._url} failed in the middle of the answer: {self._shown(error.message)}"
            raise GeneratorFailed(said) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise GeneratorFailed(f"{self._url} does not keep to the protocol of OpenAI's chat completions") from error

    def _shown(self, text: object) -> str:
        """What the endpoint said, fit for a message: on one line, not too long, and without the key."""
        plain = " ".join(str(text).split())
        return (plain.replace(self._key, "***") if self._key else plain)[:_SHOWN_CHARS]


def _passes(status_code: int) -> bool:
    """Whether another attempt may go better."""
    return status_code == 429 or status_code >= 500


def _pause(attempt: int, retry_after: str) -> float:
    """How long to wait after a refusal, seconds: as the endpoint asks for in seconds, else ever longer."""
    with contextlib.suppress(ValueError):
        asked = float(retry_after)
        if 0 <= asked < math.inf:
            return asked
    return min(_LONGEST_PAUSE, math.ldexp(_FIRST_PAUSE, attempt - 1)) * (1 - random.random() / 2)


async def _spoken(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """`pieces` without the thoughts that some models write down first, between <think> and </think>."""
    held: str | None = ""
    async for piece in pieces:
        if held is None:
            yield piece
            continue
        held = (held + piece).lstrip()
        if held.startswith(_THOUGHT):
            _, closed, rest = held.partition(_THOUGHT_END)
            if closed:
                held = None
                yield rest.lstrip()
        elif not _THOUGHT.startswith(held):
            yield held
            held = None
    if held and not held.startswith(_THOUGHT):
        yield held


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
