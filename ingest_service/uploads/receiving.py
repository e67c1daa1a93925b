"""Uploads as they come in: one message after the other, the work on files off the event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ingest_service.uploads.area import UploadArea
from ingest_service.uploads.parts import Chunk, End, File, Part, Start, Stored
from ingest_service.uploads.staged import Staged
from rag_papers.errors import DeadlineExceeded, Draining, InvalidRequest, UploadBroken
from rag_papers.persist.corpora import valid_name
from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")

_THREADS = 4
_SHARE_OF_DRAIN = 0.8  # of the time that a shutdown allows: the rest is for saying so and tidying up


class Uploads:
    """Receives uploads. Belongs to one event loop."""

    def __init__(self, settings: Settings, paths: DataPaths) -> None:
        self._area = UploadArea(paths.uploads, settings)
        self._idle_seconds = settings.upload_idle_seconds
        self._drain_seconds = settings.drain_seconds * _SHARE_OF_DRAIN
        self._receiving = ThreadPoolExecutor(_THREADS, thread_name_prefix="receiving")
        # One thread: an upload is put into its place when the one before it is in its own.
        self._storing = ThreadPoolExecutor(1, thread_name_prefix="storing")
        self._draining = False
        self._over = asyncio.Event()

    async def start(self) -> None:
        """Completes or clears away what a crash left. Raises OSError if the upload area cannot be used."""
        await _run(self._storing, self._area.recover)

    def drain(self) -> None:
        """Takes no new uploads; those in flight end with Draining shortly before the shutdown's time is up."""
        self._draining = True
        asyncio.get_running_loop().call_later(self._drain_seconds, self._over.set)

    async def close(self) -> None:
        """Waits for the upload that is being stored."""
        await asyncio.to_thread(self._storing.shutdown)
        await asyncio.to_thread(self._receiving.shutdown, cancel_futures=True)

    async def receive(self, messages: AsyncIterable[M], part_of: Callable[[M], Part]) -> Stored:
        """Receives one upload, each message when the one before it is on the disk, and stores it.

        Raises InvalidRequest, UploadBroken, UploadQuota, DiskFull, DeadlineExceeded or Draining. Whatever ends it
        before it is its turn to be stored, a cancel included, leaves nothing behind; from then on it is stored, also if
        the caller is gone.
        """
        if self._draining:
            raise Draining("the service is shutting down; try again in a moment")
        async with contextlib.aclosing(self._parts(messages, part_of)) as parts:
            start = await anext(parts, None)
            if not isinstance(start, Start):
                raise InvalidRequest(violations={"start": "it must be the first message"})
            upload = self._area.begin(Start(corpus=valid_name(start.corpus), replace_all=start.replace_all))
            try:
                await self._fill(upload, parts)
                return await asyncio.shield(_run(self._storing, self._area.store, upload))
            finally:
                # Not among the receiving threads, which may all be busy; shielded from a second cancel.
                await asyncio.shield(asyncio.to_thread(self._area.end, upload))

    async def _fill(self, upload: Staged, parts: AsyncIterator[Part]) -> None:
        async for part in parts:
            match part:
                case File():
                    await _run(self._receiving, upload.add, part)
                case Chunk():
                    await _run(self._receiving, upload.write, part.data)
                case End():
                    await _run(self._receiving, upload.complete)
                    return
                case Start():
                    raise InvalidRequest(violations={"start": "it must be the first message alone"})
        raise UploadBroken("the upload ended without its last message; nothing of it was stored")

    async def _parts(self, messages: AsyncIterable[M], part_of: Callable[[M], Part]) -> AsyncGenerator[Part, None]:
        iterator = aiter(messages)
        over = asyncio.ensure_future(self._over.wait())
        try:
            while True:
                # Never cancelled: gRPC would write the message into memory that is gone.
                arriving = asyncio.ensure_future(anext(iterator, None))
                arriving.add_done_callback(_forget)
                await asyncio.wait({arriving, over}, timeout=self._idle_seconds, return_when=asyncio.FIRST_COMPLETED)
                if arriving.done():
                    message = arriving.result()
                    if message is None:
                        return
                    yield part_of(message)
                elif over.done():
                    raise Draining("the service is shutting down; upload again in a moment")
                else:
                    raise DeadlineExceeded(f"nothing of the upload came for {self._idle_seconds:g} s")
        finally:
            over.cancel()


async def _run(executor: ThreadPoolExecutor, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await asyncio.wrap_future(executor.submit(work, *args, **kwargs))


def _forget(arrived: "asyncio.Future[Any]") -> None:
    if not arrived.cancelled():
        arrived.exception()  # an upload that has ended has nobody to tell
