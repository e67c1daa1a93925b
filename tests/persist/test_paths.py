from pathlib import Path

import pytest

from rag_papers.persist.paths import DataPaths
from rag_papers.settings import Settings


def test_everything_lies_in_the_data_directory_by_default(tmp_path: Path) -> None:
    paths = DataPaths.of(Settings(data_dir=tmp_path / "data"))
    data = tmp_path / "data"
    assert paths.cache_db == data / "cache" / "cache.db"
    assert paths.job_log == data / "jobs" / "jobs.jsonl"
    assert paths.indexes == data / "indexes"
    assert paths.corpora == data / "corpora"
    assert paths.staging.is_relative_to(paths.indexes)
    for directory in (paths.cache_db.parent, paths.job_log.parent, paths.staging, paths.corpora):
        assert directory.is_dir()


def test_caches_and_jobs_may_lie_elsewhere(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "fast", jobs_dir=tmp_path / "safe")
    paths = DataPaths.of(settings)
    assert paths.cache_db.parent == tmp_path / "fast"
    assert paths.job_log.parent == tmp_path / "safe"
    assert not (tmp_path / "data" / "cache").exists()


def test_the_places_do_not_move_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = DataPaths.of(Settings(data_dir=Path("data")))
    assert paths.indexes == tmp_path / "data" / "indexes"
    assert DataPaths.of(Settings(data_dir=tmp_path / "data")) == paths
