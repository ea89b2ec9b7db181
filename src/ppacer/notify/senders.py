"""Senders that need no network: into the log (the default), into a list, and to several at once."""

import logging
import threading
from typing import NamedTuple

from ppacer.clock import to_text
from ppacer.notify.message import MsgData, NotifyError, Sender
from ppacer.notify.template import render, subject_of

logger = logging.getLogger("ppacer.notify")


class LogSender:
    """Logs every notification as an error of the logger `ppacer.notify`, with its facts as attributes.

    One line: the first one of the rendered text and of the error. The rest is in the log of the task.
    """

    def send(self, template: str, data: MsgData) -> None:
        facts = {"dag_id": data.dag_id, "exec_ts": to_text(data.exec_ts), "task_id": data.task_id}
        subject, error = subject_of(render(template, data)), subject_of(data.task_run_error or "no words")
        more = "".join(f"; {name}: {value}" for name, value in data.runtime_info.items())
        logger.error("%s: %s%s", subject, error, more, extra={**facts, "retry": data.retry})

    def __repr__(self) -> str:
        return "LogSender()"


class MockMessage(NamedTuple):
    """What a MockSender was told, and the text that people would have read."""

    template: str
    data: MsgData
    text: str


class MockSender:
    """Keeps notifications in a list, for tests of dags; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: list[MockMessage] = []

    def send(self, template: str, data: MsgData) -> None:
        message = MockMessage(template, data, render(template, data))
        with self._lock:
            self._messages.append(message)

    @property
    def messages(self) -> list[MockMessage]:
        """Everything sent so far, oldest first; a copy."""
        with self._lock:
            return list(self._messages)

    def clear(self) -> None:
        """Forgets what was sent."""
        with self._lock:
            self._messages.clear()

    def __repr__(self) -> str:
        return "MockSender()"


class MultiSender:
    """Tells several senders, all of them even when one fails; then raises one NotifyError for those.

    The retry that follows tells all of them again: rather twice than never.
    """

    def __init__(self, *senders: Sender) -> None:
        self.senders = senders

    def send(self, template: str, data: MsgData) -> None:
        problems = []
        for sender in self.senders:
            try:
                sender.send(template, data)
            except NotifyError as error:
                problems.append(str(error))
            except Exception as error:  # a sender of the user: its words may hold secrets, its type does not
                problems.append(f"{type(sender).__name__} raised {type(error).__name__}")
        if problems:
            raise NotifyError("; ".join(problems))

    def __repr__(self) -> str:
        return f"MultiSender({', '.join(map(repr, self.senders))})"
