"""Options come from four places, a later one wins, and a wrong one is one clear sentence."""

from pathlib import Path
from typing import Any

import pytest

from ppacer.config import Settings, load
from ppacer.errors import ConfigError


def settings(folder: Path, given: Any = None, flags: Any = None, environ: Any = None) -> Settings:
    return load(given or {}, flags or {}, environ or {}, folder)


def test_everything_has_a_default(tmp_path: Path) -> None:
    assert settings(tmp_path) == Settings()
    assert settings(tmp_path).slots_or_default >= 2


def test_a_later_place_wins(tmp_path: Path) -> None:
    given, environ, flags = {"port": 1}, {"PPACER_PORT": "3"}, {"port": 4}
    assert settings(tmp_path, given).port == 1
    (tmp_path / "ppacer.toml").write_text("port = 2\n")
    assert settings(tmp_path, given).port == 2
    assert settings(tmp_path, given, environ=environ).port == 3
    assert settings(tmp_path, given, flags, environ).port == 4


def test_what_is_not_given_gives_way(tmp_path: Path) -> None:
    (tmp_path / "ppacer.toml").write_text('db = "x.db"\n')
    assert settings(tmp_path, {"db": None}, {"db": None}).db == "x.db"


def test_texts_of_the_environment_become_values(tmp_path: Path) -> None:
    environ = {"PPACER_ECHO": "false", "PPACER_DRAIN": "2.5", "PPACER_SECRETS": "A, B", "PPACER_URL": "x"}
    loaded = settings(tmp_path, environ=environ)
    assert (loaded.echo, loaded.drain, loaded.secrets) == (False, 2.5, ("A", "B"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 'x'", "an option in ppacer.toml is not possible: port must be a whole number, not 'x'"),
        ("prot = 1", "an option in ppacer.toml is not possible: there is no 'prot'; did you mean port[?]"),
        (
            "flavour = 1",
            "an option in ppacer.toml is not possible: there is no 'flavour'; there are db, logs_db, ",
        ),
        ("secrets = 'KEY'", "secrets must be a list of texts, not 'KEY'"),
        ("echo = 7", "echo must be true or false, not 7"),
        ("port = 65536", "port is 65536; it must be 0 to 65535"),
        ("slots = -1", "slots is -1"),
        ("slots = 10001", "slots is 10001"),
        ("runner = 'gpu'", "runner is 'gpu'; it must be one of process, pool, thread, async"),
        (
            "runner = 'dask'",
            "cluster is ''; it must be the address of a Dask scheduler",
        ),
        (
            "runner = 'dask'\ncluster = 'auto'",
            "cluster is 'auto'; it must be the address of a Dask ",
        ),
        ("runner = 'ray'", "cluster is ''; it must be the address of a Ray cluster: auto, "),
        ("name = 'a/b'", "name is 'a/b'; it must be 1 to 200 letters"),
        ("name = 'local'", "name is 'local'; it must be another name than ., .., local"),
        ("name = '..'", "it must be another name"),
        ("log_level = 'LOUD'", "log_level is 'LOUD'"),
        ("lease = 0.05", "lease is 0.05"),
        ("retention_days = -1", "retention_days is -1.0; it must be 0 .for ever. to 36500 days"),
        ("retention_runs = 0", "retention_runs is 0; it must be 1 to 1000000"),
        ("logs_max = -1", "logs_max is -1; it must be 0 .no limit. or megabytes"),
        ("port = = 1", "ppacer.toml cannot be read"),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "ppacer.toml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        settings(tmp_path)


def test_the_place_of_a_wrong_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the environment is not possible"):
        settings(tmp_path, environ={"PPACER_PORT": "many"})
    with pytest.raises(ConfigError, match="in the arguments is not possible"):
        settings(tmp_path, {"prot": 1})


@pytest.mark.parametrize("port", [0, 65_535])
def test_limits_are_possible(tmp_path: Path, port: int) -> None:
    assert settings(tmp_path, {"port": port}).port == port


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        ("SQLite+pysqlite:///a b/x.db", "a b/x.db"),
        ("x.db", "x.db"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
    ],
)
def test_a_file_in_a_url_is_that_file(tmp_path: Path, text: str, path: str) -> None:
    assert settings(tmp_path, flags={"db": text}).db == path
    assert settings(tmp_path, flags={"logs_db": text}).logs_db == path


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///x.db?mode=memory"])
def test_a_url_of_no_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        settings(tmp_path, flags={"db": text})


def test_the_file_of_the_database_is_found_behind_links(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert Settings(db=str(tmp_path / "link.db")).db_file == tmp_path.resolve() / "real.db"
    assert Settings(db="postgresql://user@host/name").db_file is None


@pytest.mark.parametrize(
    ("db", "db_shown"),
    [
        ("scheduler.db", "scheduler.db"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
        ("postgresql://user:a:b%40c@host:5432/name", "postgresql://user:***@host:5432/name"),
        ("postgres://user:a/b@c@host/name", "postgres://user:***@host/name"),
        ("postgresql://host:5432/name", "postgresql://host:5432/name"),
        (
            "postgresql://user@host/name?a=b&password=c&d=e",
            "postgresql://user@host/name?a=b&password=***&d=e",
        ),
    ],
)
def test_a_password_is_never_shown(db: str, db_shown: str) -> None:
    assert Settings(db=db).db_shown == db_shown


@pytest.mark.parametrize(
    ("db", "logs_db"),
    [
        ("scheduler.db", "logs.db"),
        ("/srv/a/scheduler.db", "/srv/a/logs.db"),
        ("shop.db", "shop-logs.db"),
        ("g/shop", "g/shop-logs.db"),
        ("sqlite:///g/x.sqlite", "g/x-logs.sqlite"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
    ],
)
def test_each_database_has_its_logs_beside_it(tmp_path: Path, db: str, logs_db: str) -> None:
    assert settings(tmp_path, flags={"db": db}).logs_db == logs_db
    assert settings(tmp_path, {"logs_db": "mine.db"}, {"db": db}).logs_db == "mine.db"


def test_a_link_to_a_database_leads_to_its_logs_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.db").touch()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real" / "x.db")
    assert settings(tmp_path, {"db": str(link)}).logs_db == str(tmp_path.resolve() / "real" / "x-logs.db")


def test_a_slip_of_the_pen_in_the_environment_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings(tmp_path, environ={"PPACER_PROT": "1", "PPACER_URL": "x", "PPACER_SEED": "7", "PROT": "1"})
    assert [record.getMessage() for record in caplog.records] == [
        "PPACER_PROT in the environment is no option; did you mean PPACER_PORT?"
    ]
