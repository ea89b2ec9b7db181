import socket
import threading
from datetime import timedelta

import pytest

from notify.servers import WAIT
from ppacer.notify.bounded import Line, reason, within


def test_a_conversation_in_time_returns_or_raises_its_own() -> None:
    assert within(timedelta(seconds=WAIT), lambda line: 42) == 42
    with pytest.raises(ZeroDivisionError):
        within(timedelta(seconds=WAIT), lambda line: 1 // 0)


def test_a_conversation_without_a_socket_is_given_up_at_the_timeout() -> None:
    """A name server that does not answer holds a thread that nobody can stop; it must not hold the sender."""
    over = threading.Event()
    with pytest.raises(TimeoutError):
        within(timedelta(milliseconds=50), lambda line: over.wait(WAIT))
    over.set()


def test_a_socket_made_after_the_end_is_not_used() -> None:
    line = Line()
    line.cut()
    with pytest.raises(TimeoutError):
        line.hold(None)


def test_cutting_ends_a_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = Line()
        line.hold(ours)
        line.cut()
        line.cut()
        assert ours.recv(1) == b""


def test_a_reason_never_quotes_a_library() -> None:
    error = RuntimeError("POST https://hooks.example.com/T0KEN")
    assert reason(error, timedelta(seconds=1)) == "the conversation broke off (RuntimeError)"
