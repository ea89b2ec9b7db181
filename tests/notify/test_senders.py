import logging
import pickle
import subprocess
import sys
import threading

import pytest

from ppacer.notify import (
    LogSender,
    MockSender,
    MsgData,
    MultiSender,
    NotifyError,
    Sender,
)


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, template: str, data: MsgData) -> None:
        raise self.error


def test_the_log_sender_writes_an_error_with_its_facts(
    data: MsgData, caplog: pytest.LogCaptureFixture
) -> None:
    sender: Sender = LogSender()
    sender.send("{dag_id}: 100 % of {task_id}", data)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ppacer.notify", logging.ERROR)
    assert record.getMessage() == "etl: 100 % of load: ValueError: zażółć gęślą jaźń 🦆; executor: box-7"
    facts = {name: record.__dict__[name] for name in ("dag_id", "exec_ts", "task_id", "retry")}
    assert facts == {"dag_id": "etl", "exec_ts": "2024-03-11T12:00:00.000000Z", "task_id": "load", "retry": 2}


def test_the_mock_sender_keeps_everything_from_all_threads(data: MsgData) -> None:
    sender = MockSender()
    threads = [
        threading.Thread(target=sender.send, args=(template, data))
        for template in ["{dag_id}", "{task_id}"] * 50
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(message.text for message in sender.messages) == ["etl"] * 50 + ["load"] * 50
    assert sender.messages[0].data is data
    sender.clear()
    assert sender.messages == []


def test_all_senders_are_told_even_when_one_fails(data: MsgData) -> None:
    first, last = MockSender(), MockSender()
    MultiSender(first, last).send("x", data)
    secret = Broken(RuntimeError("token=hunter2"))
    with pytest.raises(NotifyError) as error:
        MultiSender(first, Broken(NotifyError("no route")), secret, last).send("x", data)
    assert str(error.value) == "no route; Broken raised RuntimeError"
    assert (len(first.messages), len(last.messages)) == (2, 2)


def test_a_notify_error_survives_a_pipe() -> None:
    error = pickle.loads(pickle.dumps(NotifyError("no", 503)))
    assert (str(error), error.status) == ("no", 503)


def test_importing_notify_and_tasks_loads_no_client_library() -> None:
    code = "import sys, ppacer.notify, ppacer.tasks; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert "ppacer.notify" in loaded
    assert not loaded & {"urllib3", "smtplib", "ssl", "http.client", "email.message", "asyncio"}
