"""Data, certificates and servers for the tests of notifications."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from notify.servers import Certificate, HttpServer
from ppacer.notify import MsgData


@pytest.fixture
def data() -> MsgData:
    return MsgData(
        dag_id="etl",
        exec_ts=datetime(2024, 3, 11, 12, tzinfo=UTC),
        task_id="load",
        retry=2,
        task_run_error="ValueError: zażółć gęślą jaźń 🦆",
        runtime_info={"executor": "box-7"},
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    made = Certificate(*(tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem")))
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-out", str(made.cert), "-keyout", str(made.key)]
    subprocess.run([*words.split(), *names, *files], check=True, capture_output=True)
    return made


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate, as a CA that this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))
    return certificate


@pytest.fixture
def http_server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server
