"""What an ingest costs beside its embedding, what one costs after a change, and what it tells meanwhile.

    python benchmarks/ingest.py stages DIRECTORY [ROUNDS]
    python benchmarks/ingest.py again DIRECTORY [ROUNDS]
    python benchmarks/ingest.py progress DIRECTORY [CANCELS]
    python benchmarks/ingest.py memory DIRECTORY [PASSAGES]

DIRECTORY is in BEIR layout. `stages` builds its index, as a worker does, and embeds the same passages once more by
itself, in turns and with nothing cached. `again` ingests a copy through the services, then once more with nothing
changed, then with one percent of the papers changed. `progress` watches an ingest through the services: how long the
watcher hears nothing, and how the remaining time that is told compares with what it took; then it cancels as many
ingests amid their embedding. `memory` makes papers up, a passage of 120 words each, a million
by default, and ingests them with an encoder that needs no model and without the cache; DIRECTORY should have room for
6 GB.
"""

import dataclasses
import itertools
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory

from services import running_services
from synthetic import texts

from ingest_service.build import build
from ingest_service.passages import GrowingPassages
from ingest_service.task import Task
from ingest_service.vectors import Embedding
from rag_papers.persist.index_store import PASSAGES, IndexBuilder
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.settings import Settings
from rag_papers.v1.resources_pb2 import JobState


def stages(directory: Path, rounds: int) -> None:
    with TemporaryDirectory() as name:
        data = Path(name)
        for place in ("indexes", "corpora", "seen", "models"):
            (data / place).mkdir()
        timed(lambda: embed_some(data))  # freezes the model
        walls, cpus = [], []
        for number in range(rounds):
            task = task_for(directory, data, number)
            whole = timed(lambda: build(task, silent))  # noqa: B023
            alone = timed(lambda: embed(task, data / "alone"))  # noqa: B023
            for what, (wall, cpu) in (("whole", whole), ("embedding alone", alone)):
                print(f"{what}: {wall:.1f} s, {cpu:.1f} s CPU, {cpu / wall:.2f} cores busy")
            walls.append(whole[0] / alone[0])
            cpus.append(whole[1] / alone[1])
        print(f"ratio: {statistics.median(walls):.3f} of the time, {statistics.median(cpus):.3f} of the CPU")


def embed_some(data: Path) -> None:
    papers = data / "some"
    papers.mkdir()
    (papers / "a.txt").write_text("A paper.")
    build(task_for(papers, data, -1), silent)


def embed(task: Task, staging: Path) -> None:
    """Embeds the passages of the index in `task.staging`, all of which are there, and does nothing else."""
    lines = (Path(task.staging) / PASSAGES).read_bytes().splitlines(keepends=True)
    builder = IndexBuilder(staging)
    with GrowingPassages(staging / PASSAGES) as passages:
        passages.append(lines, None)
        passages.end()
        Path(task.cache_db).unlink()
        Embedding(task, open_encoder(task.model_name), passages, silent).write(builder, None)


def task_for(directory: Path, data: Path, number: int) -> Task:
    settings = Settings()
    return Task(
        corpus_dir=str(directory),
        corpus="benchmark",
        model_name=settings.model,
        model_download=False,
        encoder_precision=settings.encoder_precision,
        use_cache=True,
        max_file_bytes=settings.max_file_bytes,
        max_failed_files=None,
        parse_seconds=settings.parse_seconds,
        parse_memory_bytes=settings.parse_memory_bytes,
        exact_passages=settings.exact_passages,
        cache_db=str(data / f"cache-{number}.db"),
        indexes=str(data / "indexes"),
        corpora=str(data / "corpora"),
        seen=str(data / "seen"),
        models=str(data / "models"),
        staging=str(data / "staging"),
    )


def silent(*_: object, **__: object) -> None:
    pass


def again(directory: Path, rounds: int) -> None:
    with TemporaryDirectory() as name, running_services() as services:
        papers = Path(name) / directory.name
        papers.mkdir()
        shutil.copy(directory / "corpus.jsonl", papers)
        ingest = lambda: services.ingest.ingest(papers, corpus="benchmark")  # noqa: E731
        first = timed(ingest)[0]
        unchanged, changed = [], []
        for number in range(rounds):
            unchanged.append(timed(ingest)[0])
            count = change(papers / "corpus.jsonl", number)
            changed.append(timed(ingest)[0])
        job = ingest()
        print(f"{job.result.index.document_count} documents, {job.result.index.passage_count} passages")
        print(f"first ingest {first:.1f} s")
        print(f"nothing changed {statistics.median(unchanged):.2f} s")
        again = statistics.median(changed)
        print(f"{count} papers changed {again:.2f} s, {again / first:.1%} of the first ingest")


def change(corpus: Path, number: int) -> int:
    """Adds a sentence to every hundredth paper."""
    lines = corpus.read_text().splitlines()
    chosen = list(itertools.islice(range(number, len(lines), 100), 10_000))
    for place in chosen:
        paper = json.loads(lines[place])
        lines[place] = json.dumps(paper | {"text": f"{paper['text']} This is change number {number}."})
    corpus.write_text("\n".join(lines) + "\n")
    return len(chosen)


def progress(directory: Path, cancels: int) -> None:
    with running_services() as services:
        ingest = services.ingest
        heard = [
            (time.perf_counter(), job)
            for job in ingest.watch_job(ingest.start_ingest(directory, corpus="watched").job_id)
        ]
        pauses = [(after - before, job.message) for (before, job), (after, _) in itertools.pairwise(heard)]
        longest, message = max(pauses)
        print(f"{len(heard)} messages, {statistics.median(seconds for seconds, _ in pauses):.2f} s apart")
        print(f"at most {longest:.2f} s, at {message!r}; {sum(seconds > 0.5 for seconds, _ in pauses)} over 0.5 s")
        told = [(when, job.remaining_seconds) for when, job in heard if job.HasField("remaining_seconds")]
        start = next(when for when, job in heard if job.passages_done)
        end = next(when for when, job in heard if job.passages_done == heard[-1][1].passages_total)
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            when, seconds = next(it for it in told if it[0] >= start + share * (end - start))
            print(f"after {share:.0%} of the embedding: {seconds:.0f} s remain, it took {end - when:.0f} s")
        waits = []
        for number in range(cancels):
            job = ingest.start_ingest(directory, corpus=f"cancelled-{number}", use_cache=False)
            next(seen for seen in ingest.watch_job(job.job_id) if seen.passages_done)
            cancel = time.perf_counter()
            ingest.cancel_job(job.job_id)
            ended = list(ingest.watch_job(job.job_id))[-1]
            assert ended.state == JobState.JOB_STATE_CANCELLED, ended
            waits.append(time.perf_counter() - cancel)
        print(f"cancelled after {statistics.median(waits):.3f} s, at most {max(waits):.3f} s")


def memory(directory: Path, count: int) -> None:
    data, papers = directory / "data", directory / "papers"
    for place in (papers, *(data / place for place in ("indexes", "corpora", "seen", "models"))):
        place.mkdir(parents=True)
    with (papers / "corpus.jsonl").open("w") as file:
        for number, text in enumerate(texts(count, 120)):
            file.write(json.dumps({"_id": str(number), "title": "", "text": text}) + "\n")
    task = dataclasses.replace(
        task_for(papers, data, 0), model_name="hashing-384", use_cache=False, exact_passages=2 * count
    )
    peaks = {"Rss": 0, "Anonymous": 0}
    begin = status()
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as thread:
        built = thread.submit(build, task, silent)
        while not built.done():
            wait([built], 0.2)
            now = status()
            peaks = {name: max(peak, now[name]) for name, peak in peaks.items()}
    seconds = time.perf_counter() - start
    held, own = (f"{(peaks[name] - begin[name]) / 1024:.0f} MB" for name in ("Rss", "Anonymous"))
    print(f"{count} passages in {seconds:.0f} s, at most {held}, {own} of it not pages of files")
    built.result()


def status() -> dict[str, int]:
    """What the process holds, in KiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds that `call` took, and seconds that all threads computed."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    run, default = {
        "stages": (stages, 3),
        "again": (again, 3),
        "progress": (progress, 5),
        "memory": (memory, 1_000_000),
    }[sys.argv[1]]
    run(Path(sys.argv[2]).resolve(), int(sys.argv[3]) if len(sys.argv) > 3 else default)
