"""What a caller of QueryService sees of the encoder.

    python benchmarks/encoder_service.py start [--rounds N]
    python benchmarks/encoder_service.py together [--rounds N]

`start`: from the start of the process to its first answer that no cache knows, and its memory then, against a process
that imports sentence-transformers, loads the same model and embeds one query; in turn. `together`: 16 searches at once,
each on a connection of its own, against one after the other, past the caches; of one server process, and of two.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from encoder import NAME, QUERY
from quiet import Neighbours
from services import Services, running_services

from rag_client import QueryClient
from rag_papers.retrieval.encoders import SentenceTransformerEncoder, open_encoder
from rag_papers.rpc.channel import open_channel
from rag_papers.v1.query_pb2 import SearchRequest
from rag_papers.v1.query_pb2_grpc import QueryServiceStub

REFERENCE = """
import resource, sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], local_files_only=True)
model.encode([sys.argv[2]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
PLACES = "here there now then so well yes no and but or for if as at by".split()
"""Words of one token each."""
AT_ONCE = len(PLACES)


def start(services: Services, rounds: int) -> None:
    """QueryService from its start to its first answer against the library alone."""
    reference = open_encoder(NAME)
    assert isinstance(reference, SentenceTransformerEncoder)
    times: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    memory: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    for number in range(rounds):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "query_service", "--query-address", "127.0.0.1:0"]
        command += ["--data-dir", str(services.data)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
            assert service.stdout
            with QueryClient(service.stdout.readline().split()[-1]) as query:
                query.ask(f"{QUERY} {number}", use_cache=False)
            times["ours"].append(time.perf_counter() - begun)
            memory["ours"].append(most_memory(service.pid))
            service.terminate()
        begun = time.perf_counter()
        command = [sys.executable, "-c", REFERENCE, str(reference.files.path), QUERY]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times["sentence-transformers"].append(time.perf_counter() - begun)
        memory["sentence-transformers"].append(float(done.stdout) / 1024)
    report("process start to the first answer, s", times)
    report("most memory until then, MiB", memory)


def most_memory(process: int) -> float:
    """Most memory that a process has had, MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def together(services: Services, rounds: int) -> None:
    """Different searches at once against one by one: of one length, which one batch embeds, and of eight."""
    stubs = [QueryServiceStub(open_channel(services.query.address)) for _ in PLACES]

    def search(number: int, text: str) -> None:
        stubs[number].Search(SearchRequest(query=text, corpus="sample", use_cache=False))

    words = QUERY.split()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for title, shortest in (("one length", len(words)), ("eight lengths", len(words) - 7)):
            texts = [" ".join([place, *words[: shortest + number % 8]]) for number, place in enumerate(PLACES)]
            times: dict[str, list[float]] = {"at once": [], "one by one": []}
            list(map(search, range(AT_ONCE), texts))
            for _ in range(rounds):
                begun = time.perf_counter()
                list(pool.map(search, range(AT_ONCE), texts))
                between = time.perf_counter()
                list(map(search, range(AT_ONCE), texts))
                times["at once"].append(between - begun)
                times["one by one"].append(time.perf_counter() - between)
            report(f"{AT_ONCE} searches, {title}, s", times)


def report(title: str, measured: Mapping[str, list[float]]) -> None:
    """Medians, and their share of the last one's."""
    medians = {name: statistics.median(each) for name, each in measured.items()}
    *_, last = medians.values()
    shown = "; ".join(f"{name} {value:.4g} ({value / last:.3f} x)" for name, value in medians.items())
    print(f"{title}: {shown}", flush=True)


def main(options: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sample = Path(__file__).parents[1] / "data" / "corpus"
    for processes in ("1",) if options.work == "start" else ("1", "2"):
        with running_services(RAG_QUERY_PROCESSES=processes) as services:
            job = services.ingest.ingest(sample, corpus="sample", model_name=NAME)
            assert job.HasField("result"), job
            neighbours = Neighbours()
            if options.work == "start":
                start(services, options.rounds)
                print(
                    f"others kept {neighbours.cores():.2f} cores busy"
                )  # the services are no children that have ended
            else:
                print(f"RAG_QUERY_PROCESSES={processes}")
                together(services, options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a caller of QueryService sees of the encoder.")
    parser.add_argument("work", choices=("start", "together"))
    parser.add_argument("--rounds", type=int, default=7)
    main(parser.parse_args())
