"""Claims: one process at a time has the work of a key."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag_papers.persist.claims import Claims
from rag_papers.persist.hashing import digest

KEY, OTHER = digest("a question"), digest("another")
HOLDER = """
import sys
from pathlib import Path
from rag_papers.persist.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.claim(bytes.fromhex(sys.argv[2])), flush=True)
sys.stdin.read()
"""


def test_a_claim_holds_off_others_until_it_is_released(tmp_path: Path) -> None:
    first, second = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    assert first.claim(KEY)
    assert not second.claim(KEY)
    assert second.claim(OTHER)
    second.release(KEY)  # not its own
    assert not second.claim(KEY)
    first.release(KEY)
    assert second.claim(KEY)
    assert not first.claim(OTHER)
    second.close()
    assert first.claim(KEY)
    assert first.claim(OTHER)


def test_the_claims_of_a_process_that_is_killed_are_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "claims"), KEY.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        claims = Claims(tmp_path / "claims")
        assert not claims.claim(KEY)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert claims.claim(KEY)


@pytest.mark.parametrize("place", ["no directory/claims", "."])
def test_where_nothing_can_be_locked_every_claim_is_granted(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Claims(tmp_path / place), Claims(tmp_path / place)
    assert first.claim(KEY)
    assert first.claim(KEY)
    assert second.claim(KEY)
    assert len(caplog.records) == 2
    first.release(KEY)
    first.close()


def test_after_closing_nothing_is_held(tmp_path: Path) -> None:
    first, second = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    first.close()
    first.close()
    assert first.claim(KEY)
    assert second.claim(KEY)
