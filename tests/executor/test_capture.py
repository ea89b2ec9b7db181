"""Output of attempts in threads: told apart, and everything else left alone."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor.world import Memory, grant, messages
from ppacer.dag import Registry
from ppacer.executor.capture import Capture
from ppacer.executor.runner import Runner
from ppacer.executor.thread import ThreadRunner
from ppacer.notify import LogSender


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger without pytest's handlers, which come anew between set-up and call."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def test_two_tasks_at_once_do_not_mix(thread: Runner, memory: Memory) -> None:
    grants = [memory.start(thread, grant("same_thread", word=f"w{n}")) for n in range(8)]
    for number, started in enumerate(grants):
        memory.end_of(started)
        log = memory.log_of(started)
        assert messages(log) == [f"w{number} {n}" for n in range(50) for _ in range(2)]
        assert [r.attributes for r in log[:2]] == [{"stream": "stdout"}, None]


def test_two_coroutines_at_once_do_not_mix(loop: Runner, memory: Memory) -> None:
    grants = [memory.start(loop, grant("dreams")) for _ in range(20)]
    for started in grants:
        memory.end_of(started)
        assert messages(memory.log_of(started)) == ["dreaming"]


def test_outside_of_attempts_output_goes_where_it_went(
    registry: Registry, memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    real = sys.stdout, sys.stderr
    runner = ThreadRunner(1, registry, memory, LogSender())
    assert sys.stdout is not real[0]
    print("mine")
    print("mine too", file=sys.stderr)
    sys.stdout.writelines(["a\n", "b\n"])
    assert sys.stdout.encoding == real[0].encoding
    memory.run(runner, "shout", word="theirs")
    runner.close()
    assert (sys.stdout, sys.stderr) == real
    assert capsys.readouterr() == ("mine\na\nb\n", "mine too\n")


def test_nested_captures_are_removed_with_the_last_one() -> None:
    real, handlers = sys.stdout, list(logging.getLogger().handlers)
    first, second = Capture(), Capture()
    first.install()
    installed = sys.stdout
    second.install()
    assert sys.stdout is installed
    first.remove()
    assert sys.stdout is installed
    second.remove()
    assert sys.stdout is real
    assert logging.getLogger().handlers == handlers


def test_a_stream_put_on_top_of_ours_stays(capsys: pytest.CaptureFixture[str]) -> None:
    real, capture = sys.stdout, Capture()
    capture.install()
    ours, theirs = sys.stdout, open("/dev/null", "w")  # noqa: SIM115 - closed below
    sys.stdout = theirs
    capture.remove()
    assert sys.stdout is theirs
    sys.stdout = ours  # as the other would do in the end
    print("still works")
    sys.stdout = real
    theirs.close()
    assert capsys.readouterr().out == "still works\n"


def test_records_outside_of_attempts_go_where_they_went(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("outside")
    with bare_root(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "lastResort", logging.StreamHandler(sys.stderr))
        assert logging.lastResort is not None
        logging.lastResort.setLevel(logging.WARNING)
        capture = Capture()
        capture.install()
        logger.info("quiet")
        logger.warning("loud")
        capture.remove()
    assert capsys.readouterr().err == "loud\n"


def test_handlers_of_the_program_see_what_they_saw(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    chatty = logging.getLogger("chatty")
    chatty.setLevel(logging.DEBUG)
    with bare_root() as root:
        root.addHandler(handler)
        capture = Capture()
        capture.install()
        for logger in (logging.getLogger("other"), chatty):
            logger.debug("%s debug", logger.name)
            logger.info("%s info", logger.name)
            logger.warning("%s warning", logger.name)
        capture.remove()
        assert root.level == logging.WARNING
    chatty.setLevel(logging.NOTSET)
    handler.close()
    assert (tmp_path / "log").read_text().splitlines() == [
        "other warning",
        "chatty debug",
        "chatty info",
        "chatty warning",
    ]


def test_a_sink_that_prints_is_not_captured_itself(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    class Echo(Memory):
        def log(self, records) -> None:  # type: ignore[no-untyped-def]  # as in its base
            super().log(records)
            for record in records:
                print("echo", record.message)
                logging.getLogger("sink").warning("logged")

    memory = Echo()
    runner = ThreadRunner(1, registry, memory, LogSender())
    _, log = memory.run(runner, "shout", word="x", count=1)
    runner.close()
    assert sorted(messages(log)) == ["problem 0", "x 0"]
    assert sorted(capsys.readouterr().out.splitlines()) == ["echo problem 0", "echo x 0"]
