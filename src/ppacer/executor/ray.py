"""Ray as a cluster, by a driver process of our own (`ray_driver`).

Ray ends the process that it is connected from when it loses its cluster, puts up signal handlers and dozens
of threads: all that in a program of its own, whose death is the loss of a connection and nothing more.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

import ppacer.clock
from ppacer.clock import mono
from ppacer.executor.cluster import ClusterAwayError, Hearing, knock
from ppacer.executor.frames import READ_MAX, Frames, frame
from ppacer.protocol import End

CONNECT_SECONDS = 40.0  # Python and Ray start, and an actor does in the cluster
END_SECONDS = 20.0  # more than a driver takes to end its jobs
DRIVER = "from ppacer.executor.ray_driver import main; main()"


class Submit(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Executor to driver: give this job to the cluster."""

    token: str
    job: bytes


class Finish(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Executor to driver: have the job end."""

    token: str
    end: End


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Executor to driver: free what is held for the job."""

    token: str
    is_over: bool


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Driver to executor: connected, or why not."""

    error: str | None = None


class Heard(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Driver to executor: a message of a worker."""

    token: str
    data: bytes


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Driver to executor: the job is gone."""

    token: str
    why: str
    is_unfit: bool = False


ToDriver = Submit | Finish | Forget
FromDriver = Ready | Heard | Lost
TO_DRIVER: "msgspec.msgpack.Decoder[ToDriver]" = msgspec.msgpack.Decoder(ToDriver)
FROM_DRIVER: "msgspec.msgpack.Decoder[FromDriver]" = msgspec.msgpack.Decoder(FromDriver)


class RayCluster:
    """A Ray cluster, by an address as `ray.init` takes it: auto, host:port or ray://host:port."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._driver: _Driver | None = None

    def connect(self, hearing: Hearing) -> None:
        """Starts a driver. Raises ClusterAwayError."""
        self.close()
        try:
            knock(self.address)
            self._driver = _Driver(self.address, hearing)
        except OSError as error:
            raise ClusterAwayError(f"the Ray cluster at {self.address} does not answer: {error}") from error

    def submit(self, token: str, job: bytes) -> None:
        """Hands over a job. Raises ClusterAwayError."""
        if self._driver is None or not self._driver.send(Submit(token, job)):
            raise ClusterAwayError(f"the connection to the Ray cluster at {self.address} is gone")

    def end(self, token: str, end: End) -> None:
        """Tells the worker; a job that waits is taken back."""
        if self._driver is not None:
            self._driver.send(Finish(token, end))

    def forget(self, token: str, *, is_over: bool) -> None:
        """Lets go of the job; one that does not answer dies with its worker."""
        if self._driver is not None:
            self._driver.send(Forget(token, is_over))

    def close(self) -> None:
        """Ends the driver, and Ray every job of it."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()


class _Driver:
    """A running driver. Raises OSError when it does not connect."""

    def __init__(self, address: str, hearing: Hearing) -> None:
        self._hearing, self._address = hearing, address
        self._is_closed = False
        self._lock = threading.Lock()
        self._frames: Frames[FromDriver] = Frames(FROM_DRIVER)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start(address, theirs)
        try:
            self._wait_ready()
        except OSError:
            self.close()
            raise
        threading.Thread(target=self._listen, name="ppacer-ray", daemon=True).start()

    def send(self, message: ToDriver) -> bool:
        """Sends a message; False when the driver is gone."""
        try:
            with self._lock:
                self._socket.sendall(frame(message))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Ends the driver, which first ends its jobs."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def _wait_ready(self) -> None:
        until = mono() + CONNECT_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while (left := until - mono()) > 0:
                if not selector.select(left):
                    continue
                data = self._socket.recv(READ_MAX)
                for message in self._frames.feed(data):
                    if isinstance(message, Ready) and message.error is None:
                        return
                    raise OSError(getattr(message, "error", ""))
                if not data:
                    raise OSError("Ray has ended the process that was to connect; its words are above")
        raise OSError(f"no answer in {CONNECT_SECONDS:.0f} s")

    def _listen(self) -> None:
        try:
            while data := self._socket.recv(READ_MAX):
                for message in self._frames.feed(data):
                    self._hear(message)
        except OSError:  # reset
            pass
        if not self._is_closed:
            self._hearing.cut_off(f"the connection to the Ray cluster at {self._address} is gone")

    def _hear(self, message: FromDriver) -> None:
        match message:
            case Heard(token, data):
                self._hearing.said(token, data)
            case Lost(token, why, is_unfit):
                self._hearing.lost(token, why, is_unfit=is_unfit)


def _start(address: str, theirs: socket.socket) -> "subprocess.Popen[bytes]":
    home = str(Path(ppacer.clock.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(theirs.fileno()), address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
