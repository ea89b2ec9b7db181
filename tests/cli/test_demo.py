"""`ppacer demo` as a process."""

import json
import re
import signal
import socket
import tempfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from cli.terminal import PATIENCE, call, ok, really, started
from ppacer.cli import exits
from ppacer.cli.demo import SOURCE


def left_over() -> set[Path]:
    """What a demo would leave behind."""
    return set(Path(tempfile.gettempdir()).glob("ppacer-demo-*"))


@pytest.fixture
def own_temp(tmp_path: Path) -> dict[str, str]:
    """A folder for temporary files that nobody else uses."""
    (tmp_path / "temp").mkdir()
    return {"TMPDIR": str(tmp_path / "temp")}


def test_it_ends_by_itself_after_so_many_good_runs(tmp_path: Path, own_temp: dict[str, str]) -> None:
    ended = really("demo", "--runs", "1", "--port", "0", cwd=tmp_path, env=own_temp)
    assert ended.code == 0, ended
    assert "run 1 of demo_etl: SUCCESS" in ended.out
    assert re.search(r"demo_etl/report \| dk: +235", ended.out)
    assert re.search(r"^  page      http://127\.0\.0\.1:\d+/$", ended.out, re.MULTILINE)
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["temp"]
    assert not list((tmp_path / "temp").glob("ppacer-demo-*"))


def test_what_it_says_to_try_works_and_ctrl_c_ends_it_cleanly(
    tmp_path: Path, own_temp: dict[str, str]
) -> None:
    with started("demo", "--port", "0", cwd=tmp_path, env=own_temp) as process:
        assert process.stdout is not None
        url = ""
        while not url:
            found = re.search(r"PPACER_URL=(http\S+)", process.stdout.readline())
            url = found[1] if found else ""
        with urlopen(url, timeout=PATIENCE) as page:
            assert b"demo_etl" in page.read().replace(b"<wbr>", b"")
        env = {"PPACER_URL": url}
        assert "demo_flaky" in call("dags", env=env).out
        ended = call("trigger", "demo_etl", "--param", "count=5", "--wait", "--json", env=env)
        assert ended.code == 0
        assert "5 orders" in call("logs", ended.json["run"]["run_id"], env=env).out
        assert "orders for the run" in call("logs", "demo_etl", env=env).out
        assert call("why", "demo_flaky", env=env).code == 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "\nstopping\n" in out
    assert "Traceback" not in err
    assert not list((tmp_path / "temp").glob("ppacer-demo-*"))


def test_a_failed_run_of_a_counted_demo_is_a_failure(tmp_path: Path) -> None:
    from threading import Event

    from ppacer.cli.demo import Ends

    stop = Event()
    ends = Ends(2, stop, lambda line: None)
    ends._take(1, "demo_flaky", "FAILED")
    assert not stop.is_set()
    ends._take(2, "demo_etl", "SUCCESS")
    ends._take(2, "demo_etl", "SUCCESS")
    assert not stop.is_set()
    assert ends.code == exits.INTERRUPTED
    ends._take(3, "demo_etl", "FAILED")
    assert stop.is_set()
    assert ends.code == exits.FAILED


def test_a_database_that_is_named_is_kept(tmp_path: Path, own_temp: dict[str, str]) -> None:
    assert really("demo", "--runs", "1", "--port", "0", "--db", "my.db", cwd=tmp_path, env=own_temp).code == 0
    runs = json.loads(ok("runs", "--db", tmp_path / "my.db", "--dag", "demo_etl", "--json"))["runs"]
    assert runs[-1]["status"] == "SUCCESS"
    assert (tmp_path / "my-logs.db").exists()


def test_the_configuration_of_somebody_is_left_alone(tmp_path: Path, own_temp: dict[str, str]) -> None:
    (tmp_path / "ppacer.toml").write_text('db = "production.db"\n')
    env = {**own_temp, "PPACER_DB": str(tmp_path / "other.db"), "PPACER_PORT": "1"}
    assert really("demo", "--runs", "1", "--port", "0", cwd=tmp_path, env=env).code == 0
    assert not (tmp_path / "production.db").exists()
    assert not (tmp_path / "other.db").exists()


def test_a_port_that_is_asked_for_and_taken_is_told_in_a_sentence(
    tmp_path: Path, own_temp: dict[str, str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = really("demo", "--port", taken.getsockname()[1], cwd=tmp_path, env=own_temp)
    assert ended.code == exits.USAGE
    assert ended.said.startswith("cannot listen on 127.0.0.1:")
    assert not list((tmp_path / "temp").glob("ppacer-demo-*"))


def test_the_demo_dags_are_a_file_like_any_other() -> None:
    assert [dag["dag_id"] for dag in json.loads(ok("check", SOURCE, "--json"))["dags"]] == [
        "demo_etl",
        "demo_flaky",
    ]
