"""Whether questions made of vectors are as hard for the approximate index as those that people ask.

    python benchmarks/effort.py DATA-DIRECTORY CORPUS-ID COLLECTION

DATA-DIRECTORY is that of the services, in which the COLLECTION (BEIR layout) is published as CORPUS-ID with a frozen
model. Prints the recall of the ten best for each effort: of the collection's questions, of passages themselves, and of
questions made as rag_papers.retrieval.graph makes them to choose the effort.
"""

import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from rag_client.evaluation import collection
from rag_papers.persist.index_store import read_manifest
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import frozen
from rag_papers.retrieval.graph import asked, build_graph, mixed

QUESTIONS, K = 400, 10
EFFORTS = (32, 48, 64, 96, 128, 192, 256)

Rows = npt.NDArray[np.float32]


def main(data: Path, corpus_id: str, directory: Path) -> None:
    manifest = read_manifest(data / "indexes" / corpus_id)
    vectors = np.load(data / "indexes" / corpus_id / "vectors.npy")
    encoder = frozen(ModelStore(data / "models"), manifest.model_identity, manifest.model_name)
    texts = list(collection.read(directory).queries.values())
    random = np.random.default_rng(0)
    some = vectors[random.choice(len(vectors), min(QUESTIONS, len(vectors)), replace=False)]
    questions = {
        "people's": encoder.encode([texts[number] for number in random.permutation(len(texts))[:QUESTIONS]]),
        "passages": some,
        "made of passages": mixed(some),
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "graph"
        chosen = build_graph(vectors, path, lambda done: None).effort
        index = faiss.read_index(str(path))
    print(f"{len(vectors)} passages; chosen: {chosen}")
    print("effort            " + "".join(f"{effort:8}" for effort in EFFORTS))
    for name, some in questions.items():
        print(f"{name:18}" + "".join(f"{recall(index, vectors, some, effort):8.4f}" for effort in EFFORTS))


def recall(index: faiss.Index, vectors: Rows, questions: Rows, effort: int) -> float:
    """The share of the K best that are found, equal ones being as good as each other."""
    products = questions @ vectors.T
    kth = np.partition(products, -K, axis=1)[:, -K]
    _, found = index.search(asked(questions), 3 * K, params=faiss.SearchParametersHNSW(efSearch=max(effort, 3 * K)))
    reached = np.take_along_axis(products, found, axis=1) >= kth[:, None] - 1e-6
    return float(np.minimum(reached.sum(axis=1), K).mean() / K)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
