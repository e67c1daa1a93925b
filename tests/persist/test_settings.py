import dataclasses
import os
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from rag_papers.errors import InvalidRequest
from rag_papers.settings import Settings, env_name, flag_name

FIELDS = dataclasses.fields(Settings)
TYPES = get_type_hints(Settings)
SAMPLES: dict[Any, tuple[str, Any]] = {
    bool: ("off", False),
    int: ("7", 7),
    float: ("2.5", 2.5),
    str: ("ERROR", "ERROR"),
    Path: ("/some/where", Path("/some/where")),
    tuple[Path, ...]: (os.pathsep.join(["/one", "/two"]), (Path("/one"), Path("/two"))),
}


def sample(field: dataclasses.Field[Any]) -> tuple[str, Any]:
    """A text for the setting, and the value that it stands for."""
    if field.metadata["unit"] == "host:port":
        return "localhost:7", "localhost:7"
    if field.metadata["unit"] == "URL":
        return "http://localhost:7/v1", "http://localhost:7/v1"
    if field.name == "abstain_threshold":
        return "0.25", 0.25
    if field.name == "reranker":
        return "none", "none"
    if field.name == "entailment":
        return "cross-encoder:x", "cross-encoder:x"
    if field.name == "encoder_precision":
        return "int8", "int8"
    return SAMPLES[TYPES[field.name]]


every_setting = pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
every_flag = pytest.mark.parametrize(
    "field", [field for field in FIELDS if not field.metadata["secret"]], ids=lambda field: field.name
)


BAD = {
    "RAG_MAX_WORKERS": "many",
    "RAG_MAX_QUEUED_JOBS": "0",
    "RAG_MAX_JOB_ATTEMPTS": "1.5",
    "RAG_HEARTBEAT_SECONDS": "nan",
    "RAG_DRAIN_SECONDS": "-1",
    "RAG_JOB_RETENTION_DAYS": "inf",
    "RAG_MODEL_DOWNLOAD": "maybe",
    "RAG_LOG_LEVEL": "LOUD",
    "RAG_DATA_DIR": "~nobody-of-this-name/data",
    "RAG_CORPUS_ROOTS": "/papers:~nobody-of-this-name",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)


class TestEverySetting:
    @every_setting
    def test_is_read_from_the_environment(self, field: dataclasses.Field[Any]) -> None:
        text, value = sample(field)
        loaded = Settings.load(env={env_name(field.name): text})
        assert getattr(loaded, field.name) == value != getattr(Settings.load(env={}), field.name)

    @every_flag
    def test_is_read_from_the_command_line(self, field: dataclasses.Field[Any]) -> None:
        text, value = sample(field)
        assert getattr(Settings.from_command_line("x", "", [flag_name(field.name), text]), field.name) == value

    @every_setting
    def test_of_the_command_line_wins(self, field: dataclasses.Field[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        text, value = sample(field)
        monkeypatch.setenv(env_name(field.name), "WARNING" if TYPES[field.name] is str else "1")
        assert getattr(Settings.load({field.name: text}), field.name) == value

    @every_setting
    def test_that_is_empty_has_its_default(self, field: dataclasses.Field[Any]) -> None:
        assert Settings.load(env={env_name(field.name): ""}) == Settings.load(env={})

    @every_flag
    def test_is_explained_with_its_variable(
        self, field: dataclasses.Field[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "1000")
        with pytest.raises(SystemExit) as caught:
            Settings.from_command_line("rag-something", "Does something.", ["--help"])
        assert caught.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert f"{flag_name(field.name)} VALUE {' '.join(field.metadata['help'].split())}" in text
        assert f"[env: {env_name(field.name)}]" in text

    @every_setting
    def test_has_a_type_that_can_be_written_down(self, field: dataclasses.Field[Any]) -> None:
        assert TYPES[field.name] in SAMPLES


class TestSecrets:
    def test_are_read_from_the_environment_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            Settings.from_command_line("x", "", ["--openai-api-key", "sk-1"])
        with pytest.raises(SystemExit):
            Settings.from_command_line("x", "", ["--help"])
        assert "--openai-api-key VALUE" not in capsys.readouterr().out

    def test_are_not_shown(self) -> None:
        settings = Settings.load(env={"RAG_OPENAI_API_KEY": "sk-1"})
        assert settings.openai_api_key == "sk-1"
        assert "sk-1" not in f"{settings} {settings!r}"


class TestBadValues:
    def test_are_named_at_once(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Settings.load(env=BAD)
        assert caught.value.violations.keys() == BAD.keys()
        for name in BAD:
            assert name in caught.value.message

    @pytest.mark.parametrize("name", BAD)
    def test_are_each_bad_alone(self, name: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Settings.load(env={name: BAD[name]})
        assert list(caught.value.violations) == [name]

    def test_end_a_command_with_a_message_and_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            Settings.from_command_line("rag-x", "", ["--max-workers", "0", "--log-level", "x"])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert "RAG_MAX_WORKERS" in error and "RAG_LOG_LEVEL" in error
        assert "Traceback" not in error

    @pytest.mark.parametrize(
        ("text", "value"), [("1", True), ("YES", True), (" on ", True), ("0", False), ("No", False)]
    )
    def test_are_not_the_usual_words_for_yes_and_no(self, text: str, value: bool) -> None:
        assert Settings.load(env={"RAG_MODEL_DOWNLOAD": text}).model_download is value

    def test_are_not_log_levels_in_small_letters(self) -> None:
        assert Settings.load(env={"RAG_LOG_LEVEL": "debug"}).log_level.upper() == "DEBUG"


class TestDirectories:
    def test_of_caches_and_jobs_follow_the_data_directory(self, tmp_path: Path) -> None:
        settings = Settings.load(env={"RAG_DATA_DIR": str(tmp_path)})
        assert (settings.cache_dir, settings.jobs_dir) == (tmp_path / "cache", tmp_path / "jobs")

    def test_may_be_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        settings = Settings.load(env={"RAG_DATA_DIR": "data", "RAG_CACHE_DIR": ".", "RAG_JOBS_DIR": "."})
        assert settings.data_dir.resolve() == tmp_path / "data"
        assert settings.cache_dir.resolve() == settings.jobs_dir.resolve() == tmp_path

    def test_may_begin_with_the_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        settings = Settings.load(env={"RAG_DATA_DIR": "~/data", "RAG_CORPUS_ROOTS": "~/papers:/other"})
        assert settings.data_dir == tmp_path / "data"
        assert settings.corpus_roots == (tmp_path / "papers", Path("/other"))


class TestDefaultRoots:
    def roots(self, monkeypatch: pytest.MonkeyPatch, home: Path, here: Path) -> tuple[Path, ...]:
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(here)
        return Settings.load(env={}).corpus_roots

    @pytest.mark.parametrize("home", ["/", "/root", "/usr"])
    @pytest.mark.parametrize("here", ["/", "/usr", "/usr/lib"])
    def test_are_never_everything(self, monkeypatch: pytest.MonkeyPatch, home: str, here: str) -> None:
        assert Path("/") not in self.roots(monkeypatch, Path(home), Path(here))

    def test_are_home_and_the_parent_of_here(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        home, here = tmp_path / "home", tmp_path / "work" / "checkout"
        home.mkdir()
        here.mkdir(parents=True)
        assert self.roots(monkeypatch, home, here) == (home, tmp_path / "work")

    def test_do_not_name_what_another_one_holds(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        here = tmp_path / "work" / "checkout"
        here.mkdir(parents=True)
        assert self.roots(monkeypatch, tmp_path, here) == (tmp_path,)

    def test_of_a_directory_below_the_root_are_that_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.roots(monkeypatch, Path("/"), Path("/usr")) == (Path("/usr"),)


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1:99999", ":50051", "http://localhost:1", "a b:1", "::1:50051"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(env={"RAG_QUERY_ADDRESS": address})
    assert set(caught.value.violations) == {"RAG_QUERY_ADDRESS"}


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:50051", "[::1]:65535", "query.internal:80"])
def test_addresses_have_a_host_and_a_port(address: str) -> None:
    assert Settings.load(env={"RAG_QUERY_ADDRESS": address}).query_address == address


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:11434/v1",
        "ftp://host/v1",
        "http://",
        "https://me:sk-1@host/v1",
        "http://host/v1?key=sk-1",
        "http://[::1",
    ],
)
def test_what_is_no_endpoint_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(env={"RAG_OPENAI_BASE_URL": url})
    assert set(caught.value.violations) == {"RAG_OPENAI_BASE_URL"}
    assert "sk-1" not in caught.value.message
