"""The signal that something was written: seen by every process, and of no use where it cannot be."""

from pathlib import Path

from rag_papers.persist.write_signal import WriteSignal
from tests.persist.processes import run_python

GIVE = """
import sys
from pathlib import Path
from rag_papers.persist.write_signal import WriteSignal
WriteSignal(Path(sys.argv[1])).give()
"""


def test_every_signal_is_another_number_and_seen_by_all(tmp_path: Path) -> None:
    first, second = WriteSignal(tmp_path / "signal"), WriteSignal(tmp_path / "signal")
    seen = {first.value}
    for giver in (first, second, first):
        giver.give()
        assert first.value == second.value
        seen.add(first.value)
    assert run_python(GIVE, tmp_path / "signal").returncode == 0
    seen.add(first.value)
    assert len(seen) == 5
    assert None not in seen


def test_a_file_that_was_deleted_is_looked_for_anew(tmp_path: Path) -> None:
    first = WriteSignal(tmp_path / "signal")
    (tmp_path / "signal").unlink()
    second = WriteSignal(tmp_path / "signal")
    first.check()
    second.give()
    assert first.value == second.value != 0


def test_without_a_file_there_is_no_value(tmp_path: Path) -> None:
    signal = WriteSignal(tmp_path / "none" / "signal")
    assert signal.value is None
    signal.give()
    signal.check()
    assert signal.value is None
    signal.close()


def test_after_closing_there_is_no_value(tmp_path: Path) -> None:
    signal = WriteSignal(tmp_path / "signal")
    signal.give()
    signal.close()
    assert signal.value is None
    signal.give()
    signal.close()
