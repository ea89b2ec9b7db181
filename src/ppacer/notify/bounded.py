"""A hard limit for talking to a server.

The timeout of a socket bounds one read, not a conversation: a name server that is away, a host with many dead
addresses or a server that sends a byte now and then would hold the outbox for minutes. So the conversation
has a thread of its own, whose socket is shut down when the time is over.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from ppacer.clock import ZERO, in_words
from ppacer.errors import ConfigError

T = TypeVar("T")


class Line:
    """The socket of a conversation, held so that it can be cut from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def hold(self, sock: socket.socket | None) -> None:
        """Names the socket now in use; TimeoutError when the time is already over."""
        with self._lock:
            self._socket = sock
            if self._is_cut:
                raise TimeoutError

    def cut(self) -> None:
        """Ends every read and write on the socket, now and later."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # closed already
                    # not SSLSocket.shutdown, which takes the TLS state away from under the reading thread
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Outcome(Generic[T]):
    """What a conversation returned or raised."""

    value: T
    error: BaseException | None = None


def within(timeout: timedelta, talk: Callable[[Line], T]) -> T:
    """What `talk(line)` returns or raises, or TimeoutError when that takes longer than `timeout`."""
    line, outcome = Line(), _Outcome[T]()

    def run() -> None:
        try:
            outcome.value = talk(line)
        except BaseException as error:
            outcome.error = error

    thread = threading.Thread(target=run, name="ppacer-notify", daemon=True)
    thread.start()
    try:
        thread.join(timeout.total_seconds())
    finally:
        is_late = thread.is_alive()
        if is_late:
            line.cut()
    if is_late:
        raise TimeoutError
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def reason(error: BaseException, timeout: timedelta) -> str:
    """Why a conversation failed, in words of ours or of the operating system; never those of a library.

    Libraries put URLs and headers into their messages, and those hold secrets.
    """
    import ssl

    for cause in (error, error.__cause__, error.__context__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason})"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, TimeoutError):
            return f"it did not answer within {in_words(timeout)}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return f"the conversation broke off ({type(error).__name__})"


def check_timeout(timeout: timedelta) -> timedelta:
    """The timeout; ConfigError when it is none."""
    if not isinstance(timeout, timedelta) or not ZERO < timeout <= timedelta(hours=1):
        raise ConfigError(f"timeout of a sender is {timeout!r}; it must be a timedelta of at most an hour")
    return timeout
