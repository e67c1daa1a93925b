import stat
import threading
from pathlib import Path

import pytest

from rag_papers.persist.files import write_atomic

from .processes import run_python

CRASH_AT_RENAME = """
    import os, sys
    from pathlib import Path
    from rag_papers.persist.files import write_atomic

    Path.replace = os.replace = os.rename = lambda *_: os._exit(9)
    write_atomic(Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    for data in (b"old", b"", b"new"):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_crash_before_the_rename_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    path.write_bytes(b"old")
    assert run_python(CRASH_AT_RENAME, path).returncode == 9
    assert path.read_bytes() == b"old"
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_a_crash_while_a_file_is_created_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    assert run_python(CRASH_AT_RENAME, path).returncode == 9
    assert not path.exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "pointer.json"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(target, b"data")
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]


def test_the_permissions_are_those_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    plain, atomic = ((tmp_path / name).stat().st_mode for name in ("plain", "atomic"))
    assert stat.S_IMODE(atomic) == stat.S_IMODE(plain)


def test_a_reader_sees_whole_versions_only(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    versions = [bytes([letter]) * 50_000 for letter in b"abcd"]
    write_atomic(path, versions[0])
    done = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            if (data := path.read_bytes()) not in versions:
                torn.append(data)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(40):
        write_atomic(path, versions[turn % len(versions)])
    done.set()
    for reader in readers:
        reader.join()
    assert not torn


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "pointer.json"
    threads = [threading.Thread(target=write_atomic, args=(path, bytes([n]) * 10_000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = path.read_bytes()
    assert data == data[:1] * 10_000
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
