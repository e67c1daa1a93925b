"""How soon a Verify call that is cancelled stops computing.

    python benchmarks/verifying.py

Server and client share one process and its clock. The answers and passages are as long as a request may be, made of
random words in sentences of several lengths, so that a verification would take seconds. Each is cancelled ten times, at
random within its first half second.
"""

import asyncio
import queue
import random
import tempfile
import threading
import time
from pathlib import Path

from query_service.application import QueryApplication
from query_service.convert.verify import MAX_ANSWER_CHARS, MAX_PASSAGE_CHARS
from query_service.stop import Stop
from query_service.verification.verifying import Claim, Verified, Verifier
from rag_papers.rpc.channel import open_channel
from rag_papers.rpc.server import RunningServer, start
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2, query_pb2_grpc
from rag_papers.v1.resources_pb2 import Passage

CANCELS = 10
SHAPES = ((8, 8), (30, 30), (1, 1), (8, 20_000), (2_000, 20_000))
"""Words of a sentence of the answer, and of one of the passage."""


def main() -> None:
    ends: queue.Queue[float] = queue.Queue()
    verify = Verifier.verify

    def watched(verifier: Verifier, claim: Claim, stop: Stop) -> Verified:
        try:
            return verify(verifier, claim, stop)
        finally:
            ends.put(time.perf_counter())

    Verifier.verify = watched  # type: ignore[method-assign,assignment]
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        application = QueryApplication(Settings(data_dir=Path(directory)))
        server: RunningServer = asyncio.run_coroutine_threadsafe(start(application, "127.0.0.1:0"), loop).result()
        with open_channel(server.address) as channel:
            stub = query_pb2_grpc.QueryServiceStub(channel)
            for shape in SHAPES:
                delays = cancelled(stub, shape, ends)
                print(
                    "sentences of {:,} words against {:,}: ".format(*shape)
                    + f"stops after {delays[len(delays) // 2]:.0f} ms, median, {delays[-1]:.0f} ms at most"
                )
        asyncio.run_coroutine_threadsafe(server.stop(1.0), loop).result()


def cancelled(stub: query_pb2_grpc.QueryServiceStub, shape: tuple[int, int], ends: "queue.Queue[float]") -> list[float]:
    """Milliseconds from a cancel to the end of the work, ascending."""
    generator = random.Random(0)
    request = query_pb2.VerifyRequest(
        query="word 1",
        answer=text(generator, MAX_ANSWER_CHARS, shape[0]),
        passages=[Passage(text=text(generator, MAX_PASSAGE_CHARS, shape[1]))],
    )
    delays = []
    for _ in range(CANCELS):
        call = stub.Verify.future(request)
        time.sleep(generator.uniform(0.05, 0.5))
        begun = time.perf_counter()
        call.cancel()
        delays.append(max(0.0, ends.get(timeout=60) - begun) * 1000)
    return sorted(delays)


def text(generator: random.Random, size: int, words: int) -> str:
    """Sentences of so many words of a vocabulary of 400, at most `size` characters together."""
    made = ""
    while len(made) < size:
        made += " ".join(f"w{generator.randrange(400)}" for _ in range(words)).capitalize() + ". "
    return made[:size]


if __name__ == "__main__":
    main()
