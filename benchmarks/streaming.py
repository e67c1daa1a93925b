"""AskStream: how soon the first text comes, how soon a cancel reaches the generator, what a cached stream costs.

    python benchmarks/streaming.py

Server and clients share one process and its clock; passages and vectors are made up. The generator writes a word every
5 ms, as a language model might. Cancels are measured while 8 other streams are written.
"""

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from synthetic import CORPUS_ID, publish, word, write_postings, write_texts

from query_service.application import QueryApplication
from query_service.generators import GENERATORS
from query_service.generators.base import Assignment, Citation, DraftSentence
from rag_client import QueryClient
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import IndexBuilder
from rag_papers.persist.paths import DataPaths
from rag_papers.rpc.server import RunningServer, start
from rag_papers.settings import Settings
from rag_papers.v1.query_pb2 import AskConfig

PASSAGES, WORDS, SAID, PAUSE = 1000, 40, 100, 0.005
CANCELS, OTHERS, CACHED = 200, 8, 400


class Steady:
    """Says the words of the context at an even pace."""

    identity = "steady-1"

    def __init__(self) -> None:
        self.left = threading.Event()
        self.left_at = 0.0

    def generate(self, assignment: Assignment) -> Sequence[DraftSentence]:
        """One sentence, which cites the first of the context."""
        words = [word(number) for number in range(SAID)]
        with assignment.stop.when_client_leaves(self._note):
            for number, said in enumerate(words):
                time.sleep(PAUSE)
                assignment.say(f" {said}" if number else said)
        first = assignment.evidence[0]
        return [DraftSentence(text=" ".join(words), citations=(Citation.of(first.sentence, first.source),))]

    def _note(self) -> None:
        self.left_at = time.perf_counter()
        self.left.set()


def main() -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    watched = Steady()
    GENERATORS["steady"] = lambda settings: Steady()  # type: ignore[index]
    GENERATORS["watched"] = lambda settings: watched  # type: ignore[index]
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data_dir=Path(directory), query_threads=OTHERS + 2)
        _make_papers(settings)
        server: RunningServer = asyncio.run_coroutine_threadsafe(
            start(QueryApplication(settings), "127.0.0.1:0"), loop
        ).result()
        with QueryClient(server.address) as client:
            _first_text(client)
            _cancels(client, watched)
            _cached(client)
        asyncio.run_coroutine_threadsafe(server.stop(1.0), loop).result()


def _make_papers(settings: Settings) -> None:
    paths = DataPaths.of(settings)
    builder = IndexBuilder(paths.staging / "made-up")
    write_texts(builder, PASSAGES, WORDS)
    write_postings(builder)
    publish(builder, PASSAGES, paths.indexes)
    version = Version(corpus_id=CORPUS_ID, publish_time=time.time(), job_id="made-up")
    Corpora(paths.corpora).publish("made-up", version)


def _question(number: int) -> str:
    return f"{word(number % 50)} {word(50 + number)} {word(number % 7)}"


def _config(generator: str) -> AskConfig:
    return AskConfig(generator=generator, max_repairs=0, vector_weight=0, vector_weight_on_repair=0)


def _first_text(client: QueryClient) -> None:
    first, whole = [], []
    for number in range(20):
        begun = time.perf_counter()
        for message in client.ask_stream(_question(number), use_cache=False, config=_config("steady")):
            if message.text_delta and len(first) == number:
                first.append(time.perf_counter() - begun)
        whole.append(time.perf_counter() - begun)
    print(f"first text      median {_ms(statistics.median(first))}, whole answer {_ms(statistics.median(whole))}")


def _cancels(client: QueryClient, watched: Steady) -> None:
    done = threading.Event()

    def others(thread: int) -> None:
        while not done.is_set():
            list(client.ask_stream(_question(1000 + thread), use_cache=False, config=_config("steady")))

    threads = [threading.Thread(target=others, args=(number,)) for number in range(OTHERS)]
    for thread in threads:
        thread.start()
    delays = []
    for number in range(CANCELS):
        watched.left.clear()
        stream = client.ask_stream(_question(number), use_cache=False, config=_config("watched"))
        while not next(stream).text_delta:
            pass
        cancelled = time.perf_counter()
        stream.close()  # type: ignore[attr-defined]  # it is a generator
        assert watched.left.wait(10)
        delays.append(watched.left_at - cancelled)
    done.set()
    for thread in threads:
        thread.join()
    delays.sort()
    print(f"cancel          median {_ms(delays[len(delays) // 2])}, p99 {_ms(delays[int(0.99 * len(delays))])}, "
          f"longest {_ms(delays[-1])}, until the generator is told, {OTHERS} other streams meanwhile")  # fmt: skip


def _cached(client: QueryClient) -> None:
    question, config = _question(0), _config("extractive")
    client.ask(question, config=config)
    asked, streamed = [], []
    for _ in range(CACHED):
        begun = time.perf_counter()
        assert client.ask(question, config=config).cache.answer_hit
        between = time.perf_counter()
        assert list(client.ask_stream(question, config=config))[-1].done.cache.answer_hit
        asked.append(between - begun)
        streamed.append(time.perf_counter() - between)
    one, other = statistics.median(asked), statistics.median(streamed)
    print(f"cached answer   Ask median {_ms(one)}, AskStream median {_ms(other)}: {other / one:.2f} x")


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


if __name__ == "__main__":
    main()
