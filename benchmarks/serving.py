"""Answers from the cache against the least the same server can do; cached retrieval; a cold start; an ingest beside.

    python benchmarks/serving.py wire|retrieval|start|processes|beside [DIRECTORY/cranfield]    # that for `beside`

`wire`: Ask against an RPC that does nothing and replies with as many bytes, by the same server, calls shuffled.
`retrieval`: a stored ranking against making it, 100,000 passages, the query's vector at hand, in this process.
`start`: from the start of QueryService to a stored answer, against `import sentence_transformers`, alternately.
`processes`: calls a second of 16 clients to one process and to two, alternately; the clients have the same cores.
`beside`: the 99th percentile of stored answers during the whole ingest of a collection, and before and after it.
"""

import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from query_server import ECHO
from services import running_services

from rag_papers.rpc.channel import open_channel
from rag_papers.v1 import query_pb2

ASK = "/rag_papers.v1.QueryService/Ask"
SEARCH = "/rag_papers.v1.QueryService/Search"
SAMPLE = Path(__file__).parents[1] / "data" / "corpus"
QUESTION = "What is dropout?"
REQUEST = query_pb2.AskRequest(query=QUESTION).SerializeToString()
CALLS, CLIENTS, BLOCKS = 4000, 16, 12
LOADS = 4  # processes that the clients of `processes` are in


@contextmanager
def sample_data() -> Iterator[Path]:
    """A data directory with the sample papers and the answer to the question."""
    with running_services() as services:
        services.ingest.ingest(str(SAMPLE), model_name="hashing-384")
        services.query.ask(QUESTION)
        with TemporaryDirectory() as place:
            data = Path(place) / "data"
            subprocess.run(["cp", "-r", str(services.data), str(data)], check=True)
            yield data


@contextmanager
def server(
    data: Path, *flags: str, program: Sequence[str] = (str(Path(__file__).parent / "query_server.py"),)
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service under test, and its address."""
    command = [sys.executable, *program, "--data-dir", str(data), *flags]
    command += ["--query-address", "127.0.0.1:0", "--log-level", "INFO"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().split()[1]
        finally:
            process.terminate()
            process.wait()


def calls(address: str) -> dict[str, Callable[[], bytes]]:
    """The two calls, over one channel; neither reply is parsed."""
    channel = grpc.insecure_channel(address)
    ask, echo = channel.unary_unary(ASK), channel.unary_unary(ECHO)
    while not query_pb2.AskResponse.FromString(reply := ask(REQUEST)).cache.answer_hit:
        time.sleep(0.1)
    size = str(len(reply)).encode()
    return {"Ask": lambda: ask(REQUEST), "empty": lambda: echo(size)}


def latency(address: str) -> dict[str, float]:
    """Median of each call, microseconds, one client, in a random order."""
    sides = calls(address)
    order = list(sides) * CALLS
    random.Random(0).shuffle(order)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number, name in enumerate(order):
        start = time.perf_counter()
        sides[name]()
        if number > CALLS // 10:
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor(pid: int, address: str) -> dict[str, float]:
    """CPU of the server for each call, microseconds, of concurrent clients, in alternating blocks."""
    sides = calls(address)
    each = CALLS // CLIENTS // 2
    used = dict.fromkeys(sides, 0.0)
    for block in range(BLOCKS):
        for name in sorted(sides, reverse=block % 2 == 0):
            before = cpu_seconds(pid)

            def client(call: Callable[[], bytes] = sides[name]) -> None:
                for _ in range(each):
                    call()

            threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            used[name] += cpu_seconds(pid) - before
    return {name: seconds / (BLOCKS * CLIENTS * each) * 1e6 for name, seconds in used.items()}


def show(what: str, sides: dict[str, float], unit: str) -> None:
    """One line: both sides and their ratio."""
    (name, one), (other, two) = sides.items()
    print(f"{what}: {name} {one:.1f} {unit}, {other} {two:.1f} {unit}, ratio {one / two:.3f}")


def wire() -> None:
    with sample_data() as data:
        with server(data) as (process, address):
            show("p50 from memory", latency(address), "us")
            show("server CPU, 16 at once", processor(process.pid, address), "us")
        with server(data, "--cache-memory-bytes", "0") as (_, address):
            show("p50 from SQLite", latency(address), "us")


def retrieval(count: int = 100_000) -> None:
    from synthetic import CORPUS_ID, MODEL, publish, word, write_postings, write_texts

    from query_service.config import SearchConfig
    from query_service.encoders import CallVectors, Encoders
    from query_service.retrieving import Rankings, retrieve
    from query_service.stop import Stop
    from rag_papers.persist.caching import REFRESH, USE
    from rag_papers.persist.index_store import IndexBuilder, OpenIndex
    from rag_papers.persist.model_store import ModelStore
    from rag_papers.persist.sqlite_store import SqliteStore
    from rag_papers.retrieval.filtering import Filter

    del CORPUS_ID, MODEL
    with TemporaryDirectory() as place:
        builder = IndexBuilder(Path(place) / "staging")
        write_texts(builder, count, 80)
        write_postings(builder)
        index = OpenIndex(publish(builder, count, Path(place)))
        store = SqliteStore(Path(place) / "cache.db")
        rankings, encoders = Rankings(store), Encoders(store, ModelStore(Path(place)))
        generator = random.Random(0)
        times: dict[str, list[float]] = {"made": [], "stored": []}
        for _ in range(100):
            query = " ".join(word(generator.randrange(20, 20_000)) for _ in range(8))
            vectors = CallVectors(encoders, index.manifest, USE, Stop())
            vectors.query(query)
            for name, policy in (("made", REFRESH), ("stored", USE)):
                start = time.perf_counter()
                retrieve(rankings, index, query, Filter(), SearchConfig(), vectors, policy, Stop())
                times[name].append(time.perf_counter() - start)
        show("ranking", {name: statistics.median(taken) * 1e6 for name, taken in times.items()}, "us")
        store.close()


def start(rounds: int = 7) -> None:
    times: dict[str, list[float]] = {"first answer": [], "import": []}
    with sample_data() as data:
        for _ in range(rounds):
            begin = time.perf_counter()
            with server(data) as (_, address):
                response = query_pb2.AskResponse.FromString(grpc.insecure_channel(address).unary_unary(ASK)(REQUEST))
                times["first answer"].append(time.perf_counter() - begin)
                assert response.cache.answer_hit
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import sentence_transformers"], check=True)
            times["import"].append(time.perf_counter() - begin)
    show("cold start", {name: statistics.median(taken) for name, taken in times.items()}, "s")


def load(address: str, method: str, seconds: str) -> None:
    """One process of clients: prints how many calls they made."""
    request = query_pb2.SearchRequest(query=QUESTION).SerializeToString() if method == SEARCH else REQUEST
    counts = []

    def client() -> None:
        channel = open_channel(address)
        call, count = channel.unary_unary(method), 0
        call(request)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            call(request)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS // LOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(counts))


def processes(rounds: int = 5, seconds: float = 4.0) -> None:
    rates: dict[tuple[str, str], list[float]] = {}
    program = ("-m", "query_service")
    with (
        sample_data() as data,
        server(data, "--query-processes", "1", program=program) as (_, one),
        server(data, "--query-processes", "2", program=program) as (_, two),
    ):
        for turn in range(rounds):
            for method in (ASK, SEARCH):
                for name, address in sorted({"one": one, "two": two}.items(), reverse=turn % 2 == 0):
                    command = [sys.executable, __file__, "load", address, method, str(seconds)]
                    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(LOADS)]
                    made = sum(int(client.communicate()[0]) for client in clients)
                    rates.setdefault((method, name), []).append(made / seconds)
    for method in (ASK, SEARCH):
        sides = {f"{name} process": statistics.median(rates[method, name]) for name in ("two", "one")}
        show(method.rpartition("/")[2], sides, "calls/s")


def beside(collection: str, seconds: float = 30.0) -> None:
    with running_services() as services:
        services.ingest.ingest(str(SAMPLE))
        services.query.ask(QUESTION, corpus="corpus")

        def p99(is_over: Callable[[], bool]) -> float:
            taken = []
            while not is_over():
                begin = time.perf_counter()
                assert services.query.ask(QUESTION, corpus="corpus").cache.answer_hit
                taken.append(time.perf_counter() - begin)
                time.sleep(0.002)
            return statistics.quantiles(taken, n=100)[98] * 1e3

        def alone() -> float:
            end = time.monotonic() + seconds
            return p99(lambda: time.monotonic() > end)

        alone()  # warm
        before = alone()
        done = threading.Event()

        def ingest() -> None:
            begin = time.monotonic()
            services.ingest.ingest(collection)
            print(f"the ingest took {time.monotonic() - begin:.1f} s")
            done.set()

        threading.Thread(target=ingest).start()
        busy = p99(done.is_set)
        after = alone()
        print(f"p99 alone: {before:.2f} ms before, {after:.2f} ms after")
        show("p99", {"during an ingest": busy, "alone": statistics.mean([before, after])}, "ms")


if __name__ == "__main__":
    commands = {
        "wire": wire,
        "retrieval": retrieval,
        "start": start,
        "processes": processes,
        "load": load,
        "beside": beside,
    }
    commands[sys.argv[1]](*sys.argv[2:])
