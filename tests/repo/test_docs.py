import dataclasses
import re

import pytest

from rag_papers.rpc.status import CODES
from rag_papers.settings import Settings, env_name

from .places import ROOT


def words(*names: str) -> set[str]:
    """The words of those documents that exist."""
    texts = [path.read_text() for name in names if (path := ROOT / name).exists()]
    return set(re.findall(r"\w+", "\n".join(texts)))


@pytest.mark.parametrize("name", [env_name(field.name) for field in dataclasses.fields(Settings)])
def test_every_setting_is_documented(name: str) -> None:
    assert name in words("README.md", "docs/operations.md")


@pytest.mark.parametrize("reason", CODES)
def test_every_reason_of_an_error_is_documented(reason: str) -> None:
    assert reason in words("docs/errors.md")
