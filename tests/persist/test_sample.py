"""An index of the published format stays readable, by this code and by whoever follows docs/format.md."""

import ast
import hashlib
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from rag_papers.persist.index_store import OpenIndex, read_documents, read_failures, verify
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.filtering import Filter
from rag_papers.retrieval.search import search

SAMPLE = Path(__file__).parent / "sample" / "f89c69bac487f9df"
NUMBERS = {"<f4": "f", "<i4": "i", "<i8": "q", "<u8": "Q", "|u1": "B", "|i1": "b"}


def lines(name: str) -> list[dict[str, Any]]:
    data = (SAMPLE / name).read_bytes()
    assert data.endswith(b"\n")
    objects = [json.loads(line) for line in data.splitlines()]
    canonical = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in objects]
    assert "".join(canonical).encode() == data
    return objects


def array(name: str) -> tuple[str, tuple[int, ...], list[Any]]:
    """Dtype, shape and numbers of an .npy file, read by its bytes."""
    data = (SAMPLE / name).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    begin = 10 + struct.unpack("<H", data[8:10])[0]
    assert begin % 64 == 0
    header = ast.literal_eval(data[10:begin].decode())
    assert header["fortran_order"] is False
    numbers = [each for (each,) in struct.iter_unpack("<" + NUMBERS[header["descr"]], data[begin:])]
    assert len(numbers) == int(np.prod(header["shape"]))
    return header["descr"], header["shape"], numbers


class TestByTheDocument:
    def test_manifest(self) -> None:
        data = (SAMPLE / "meta.json").read_bytes()
        fields = json.loads(data)
        assert data.decode() == json.dumps(fields, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        checksum = fields.pop("checksum")
        compact = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(compact.encode()).hexdigest() == checksum
        assert fields["corpus_id"] == SAMPLE.name
        assert {path.name for path in SAMPLE.iterdir()} == {"meta.json", *fields["files"]}
        for name, facts in fields["files"].items():
            content = (SAMPLE / name).read_bytes()
            assert facts == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def test_passages_and_documents(self) -> None:
        passages, documents = lines("passages.jsonl"), lines("documents.jsonl")
        _, (entries,), offsets = array("passages.offsets.npy")
        data = (SAMPLE / "passages.jsonl").read_bytes()
        assert entries == len(passages) + 1
        for number, (begin, end) in enumerate(itertools.pairwise(offsets)):
            assert json.loads(data[begin:end]) == passages[number]
        first = 0
        for document in documents:
            own = passages[first : first + document["passage_count"]]
            assert document["first_passage"] == first
            for number, passage in enumerate(own):
                assert passage["passage_id"] == f"{document['document_id']}#{number}"
                assert len(passage["text"].encode()) == passage["end_byte"] - passage["start_byte"]
            first += len(own)
        assert first == len(passages)

    def test_postings(self) -> None:
        (_, _, hashes), (_, _, terms) = array("bm25.hashes.npy"), array("bm25.terms.npy")
        (_, _, term_offsets), (_, _, offsets) = array("bm25.term_offsets.npy"), array("bm25.offsets.npy")
        (_, _, found), (kind, _, scores) = array("bm25.passages.npy"), array("bm25.scores.npy")
        assert (kind, hashes) == ("<f4", sorted(hashes))
        assert len(term_offsets) == len(offsets) == len(hashes) + 1
        words = [bytes(terms[begin:end]) for begin, end in itertools.pairwise(term_offsets)]
        for word, number in zip(words, hashes, strict=True):
            assert xxhash.xxh3_64_intdigest(word) == number
        quokka = words.index(b"quokka")
        run = slice(offsets[quokka], offsets[quokka + 1])
        texts = [passage["title"] + passage["text"] for passage in lines("passages.jsonl")]
        assert found[run] == [number for number, text in enumerate(texts) if "quokka" in text]
        assert min(scores) > 0

    def test_vectors(self) -> None:
        kind, shape, numbers = array("vectors.npy")
        assert (kind, shape) == ("<f4", (len(lines("passages.jsonl")), 16))
        rows = np.reshape(np.array(numbers, np.float32), shape)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
        (kind, _, scales), (code_kind, code_shape, codes) = array("vectors.scales.npy"), array("vectors.codes.npy")
        assert (kind, code_kind, code_shape) == ("<f4", "|i1", shape)
        largest = np.array([max(map(abs, row)) for row in rows.tolist()], np.float32)
        assert scales == (largest / np.float32(127)).tolist()
        ratios = zip(rows.flat, np.repeat(np.array(scales, np.float32), shape[1]), strict=True)
        assert codes == [round(float(number / scale)) for number, scale in ratios]


def test_it_is_whole() -> None:
    assert verify(SAMPLE).features == ("faiss-hnsw-2",)
    assert [error.path for error in read_failures(SAMPLE)] == ["abstracts.jsonl:3"]
    *_, paper = read_documents(SAMPLE)
    assert (paper.year, paper.authors, paper.doi) == (2021, ("Ada Example", "Björn Ålander"), "10.5555/quokka")


@pytest.mark.parametrize("exact", [True, False])
def test_it_answers(exact: bool) -> None:
    index = OpenIndex(SAMPLE)
    index.use_approximate()
    query = "quokka constant"
    (vector,) = open_encoder("hashing-16").encode([query])
    best, *_ = search(index, query, vector, bm25_weight=0.5, vector_weight=0.5, top_k=3, exact=exact)
    assert index.passage(best.position).text.startswith("The quokka constant is 42.")
    assert index.positions(Filter(last_year=1960)).tolist() == [0]
