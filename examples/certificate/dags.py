"""Renews a TLS certificate shortly before it expires: a schedule of its own, openssl, one atomic step.

`server.pem` holds the key and the certificate in one file, so they fit together at every moment. The new
ones are made in the folder `new`; whatever goes wrong there leaves `server.pem` as it is.
"""

import os
import shlex
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ppacer
from ppacer import Dag, Node, TaskContext, task
from ppacer.tasks import Bash

FOLDER = Path(os.environ.get("CERT_FOLDER", "certs"))  # with ca.crt and ca.key in it, see make_ca.sh
HOST = os.environ.get("CERT_HOST", "localhost")
DAYS = os.environ.get("CERT_DAYS", "90")
MARGIN = timedelta(days=float(os.environ.get("CERT_MARGIN_DAYS", "30")))
RELOAD = shlex.split(os.environ.get("CERT_RELOAD", "true"))  # such as: systemctl reload nginx

CA, CA_KEY, LIVE, NEW = FOLDER / "ca.crt", FOLDER / "ca.key", FOLDER / "server.pem", FOLDER / "new"
KEY, CSR, CRT = NEW / "server.key", NEW / "server.csr", NEW / "server.crt"
EPOCH, HOUR = datetime(1970, 1, 1, tzinfo=UTC), timedelta(hours=1)


def expiry(certificate: Path) -> datetime:
    """When a certificate ends; long ago when there is none, or none that can be read."""
    try:
        command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certificate)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return EPOCH
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(answer.strip().removeprefix("notAfter=")), UTC)


class BeforeExpiry:
    """One point, `margin` before the certificate ends; when that is past, every full hour is a point.

    So a renewal that failed is tried again. After one that succeeded there is one more run, because its point
    was asked for before the new certificate was there; it finds nothing to do, and the next is months away.
    """

    start = None

    def __init__(self, certificate: Path, margin: timedelta) -> None:
        self.certificate, self.margin = certificate, margin

    def next(self, current: datetime, previous: datetime | None) -> datetime:
        due = expiry(self.certificate) - self.margin
        return due if due > current else current + HOUR - (current - EPOCH) % HOUR

    def __str__(self) -> str:
        return f"{self.margin} before {self.certificate} expires"


@task
def is_due(ctx: TaskContext) -> bool:
    NEW.mkdir(mode=0o700, parents=True, exist_ok=True)
    end = expiry(LIVE)
    ctx.logger.info("%s %s", LIVE, "is not there yet" if end == EPOCH else f"ends {end}")
    return end - MARGIN <= datetime.now(UTC)


class BashIfDue(Bash):
    """A command that is run if `is_due` said so."""

    def execute(self, ctx: TaskContext) -> None:
        if ctx.result("is_due"):
            super().execute(ctx)


@task
def install(ctx: TaskContext, due: bool) -> None:
    """Puts the new key and certificate in the place of the old ones, in one step."""
    if not due:
        return
    pem = NEW / "server.pem"
    pem.touch(mode=0o600)
    pem.write_text(KEY.read_text() + CRT.read_text() + CA.read_text())
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pem)  # as a server would: do they fit?
    if expiry(pem) < expiry(LIVE):
        raise ValueError(f"the new certificate ends {expiry(pem)}, sooner than the old one: {expiry(LIVE)}")
    with open(pem) as file:
        os.fsync(file.fileno())
    os.replace(pem, LIVE)
    ctx.logger.info("renewed: %s ends %s", LIVE, expiry(LIVE))


Words = list[str | Path]
REQUEST: Words = ["openssl", "req", "-new", "-nodes", "-newkey", "ec"]
REQUEST += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
REQUEST += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", KEY, "-out", CSR]
SIGN: Words = ["openssl", "x509", "-req", "-in", CSR, "-CA", CA, "-CAkey", CA_KEY, "-CAcreateserial"]
SIGN += ["-copy_extensions", "copy", "-days", DAYS, "-sha256", "-out", CRT]
CHECK: Words = ["openssl", "verify", "-CAfile", CA, "-purpose", "sslserver", "-verify_hostname", HOST, CRT]

with Dag("certificate", schedule=BeforeExpiry(LIVE, MARGIN), catch_up=1, max_active_runs=1) as certificate:
    due = is_due()
    request = Node(BashIfDue("request", REQUEST))
    sign = Node(BashIfDue("sign", SIGN))
    check = Node(BashIfDue("check", CHECK))
    reload = Node(BashIfDue("reload", RELOAD))
    request >> sign >> check >> install(due) >> reload
    due >> [request, sign, check, reload]  # a result is there for the tasks right behind it

if __name__ == "__main__":
    ppacer.serve(certificate)
