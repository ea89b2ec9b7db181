"""The certificate: renewed when it is time and only then, and never lost."""

import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ppacer
from examples.conftest import Load
from examples.terminal import ROOT, Terminal, until
from ppacer.notify import MockSender
from ppacer.schedule import next_point

EXAMPLE = ROOT / "examples" / "certificate"
NOW = datetime(2024, 3, 11, 12, 34, 56, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CERT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A folder with a certificate authority in it."""
    make_ca(tmp_path / "certs")
    return tmp_path / "certs"


def make_ca(folder: Path) -> None:
    subprocess.run(["sh", EXAMPLE / "make_ca.sh", folder], check=True, capture_output=True)


def renew(dags: Any, told: MockSender | None = None) -> dict[str, str]:
    """Runs the dag once; the state of every task."""
    detail = ppacer.run_once(dags.certificate, notifier=told or MockSender())
    return {task.task_id: task.status for task in detail.tasks}


def test_a_missing_certificate_is_made_and_a_browser_would_trust_it(certs: Path, load: Load) -> None:
    dags = load("certificate")
    assert set(renew(dags).values()) == {"SUCCESS"}
    ends = dags.expiry(certs / "server.pem")
    assert abs(ends - datetime.now(UTC) - timedelta(days=90)) < HOUR
    assert (certs / "server.pem").stat().st_mode & 0o077 == 0, "others can read the key"
    assert name_seen_by_client(certs) == "localhost"


def name_seen_by_client(certs: Path) -> str:
    """Shakes hands with a server that has `server.pem`, as a client that trusts the authority."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certs / "server.pem")
    client_context = ssl.create_default_context(cafile=certs / "ca.crt")
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server_context.wrap_socket(theirs, server_side=True) as server:
            server.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client_context.wrap_socket(ours, server_hostname="localhost") as client:
        found = client.getpeercert()
        client.send(b"x")
    thread.join()
    assert found is not None
    names: Any = found["subjectAltName"]
    ((kind, name),) = names
    assert kind == "DNS"
    return str(name)


def test_a_certificate_is_renewed_near_its_end_and_not_before(
    certs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERT_DAYS", "31")  # renewal is due a day from now
    renew(load("certificate"))
    first = (certs / "server.pem").read_bytes()
    shutil.rmtree(certs / "new")
    assert set(renew(load("certificate")).values()) == {"SUCCESS"}
    assert (certs / "server.pem").read_bytes() == first, "it was renewed before it was due"
    assert list((certs / "new").iterdir()) == [], "something was made, though nothing was due"
    monkeypatch.setenv("CERT_MARGIN_DAYS", "32")
    renew(load("certificate"))
    assert (certs / "server.pem").read_bytes() != first
    assert name_seen_by_client(certs) == "localhost"


@pytest.mark.parametrize(
    ("trouble", "task", "words"),
    [
        ("the key of another authority", "sign", "exit code"),
        ("another authority", "check", "verification failed"),
        ("another name", "check", "mismatch"),
        ("a shorter life", "install", "sooner than the old one"),
        ("no openssl", "request", "'openssl' was not found"),
        ("a reload that fails", "reload", "exit code 1"),
    ],
)
def test_a_renewal_that_fails_keeps_the_old_certificate(
    trouble: str, task: str, words: str, certs: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(load("certificate"))
    before = (certs / "server.pem").read_bytes()
    monkeypatch.setenv("CERT_MARGIN_DAYS", "1000")
    make_trouble(trouble, certs, monkeypatch)
    dags, told = load("certificate"), MockSender()
    check = dags.certificate.task("check").command
    if trouble == "another authority":
        check[check.index("-CAfile") + 1] = str(certs.parent / "other" / "ca.crt")
    elif trouble == "another name":
        check[check.index("-verify_hostname") + 1] = "example.org"
    states = renew(dags, told)
    failed = [task_id for task_id, state in states.items() if state == "FAILED"]
    assert failed == [task]
    (message,) = told.messages
    assert words in message.text
    assert ((certs / "server.pem").read_bytes() == before) == (task != "reload")
    assert name_seen_by_client(certs) == "localhost"


def make_trouble(trouble: str, certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = certs.parent / "other"
    make_ca(other)
    if trouble == "the key of another authority":
        shutil.copy(other / "ca.key", certs / "ca.key")
    elif trouble == "a shorter life":
        monkeypatch.setenv("CERT_DAYS", "5")
    elif trouble == "no openssl":
        monkeypatch.setenv("PATH", str(certs))
    elif trouble == "a reload that fails":
        monkeypatch.setenv("CERT_RELOAD", "false")


def test_the_schedule_is_due_the_margin_before_the_end(certs: Path, load: Load) -> None:
    dags = load("certificate")
    renew(dags)
    schedule, ends = dags.certificate.schedule, dags.expiry(certs / "server.pem")
    assert next_point(schedule, NOW, None) == ends - timedelta(days=30)
    assert next_point(schedule, ends - timedelta(days=30), None) > ends - timedelta(days=30)
    assert str(schedule) == "30 days, 0:00:00 before certs/server.pem expires"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_while_it_is_due_every_full_hour_is_a_point(
    content: bytes | None, tmp_path: Path, load: Load
) -> None:
    file = tmp_path / "server.pem"
    if content is not None:
        file.write_bytes(content)
    schedule = load("certificate").BeforeExpiry(file, timedelta(days=30))
    point: datetime | None = NOW
    for hour in (13, 14, 15):
        assert point is not None
        point = next_point(schedule, point, point)
        assert point == NOW.replace(hour=hour, minute=0, second=0)


@pytest.mark.slow
def test_a_program_renews_on_schedule(tmp_path: Path, terminal: Terminal, load: Load) -> None:
    terminal.does(f"sh {EXAMPLE}/make_ca.sh certs")
    begin = time.monotonic()
    terminal.does(f"ppacer run {EXAMPLE}/dags.py")
    start = timedelta(seconds=time.monotonic() - begin)  # no program starts slower here and now
    live = tmp_path / "certs" / "server.pem"
    first, ends = live.read_bytes(), load("certificate").expiry(live)
    margin = ends - datetime.now(UTC) - timedelta(seconds=5) - start  # so it is due soon after its start
    variables = {"CERT_MARGIN_DAYS": str(margin / timedelta(days=1)), "CERT_RELOAD": "touch reloaded"}
    with terminal.start(f"python {EXAMPLE}/dags.py", variables) as program:
        program.says("renewed: certs/server.pem ends")
        until((tmp_path / "reloaded").exists, "the reload")
        assert live.read_bytes() != first
        assert program.stop() == 0
    with sqlite3.connect(tmp_path / "scheduler.db") as db:
        (status, trigger) = db.execute("SELECT Status, TriggeredBy FROM dagruns").fetchone()
        assert (status, trigger) == ("SUCCESS", "schedule")
    assert name_seen_by_client(tmp_path / "certs") == "localhost"
