"""What a task leaves behind in its process ends as it would at the end of an interpreter."""

from collections.abc import Callable

from app.program import Program

SOURCE = """
import atexit, os, threading, time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
import ppacer
from ppacer import Dag, task

def mark(text):
    with open("ledger", "a") as file:
        file.write(text + "\\n")

def later(seconds, text):
    time.sleep(seconds)
    mark(text)

@task
def leaves() -> None:
    threading.Thread(target=later, args=(0.3, "thread")).start()
    threading.Thread(target=later, args=(600, "daemon"), daemon=True).start()
    ThreadPoolExecutor(2).submit(mark, "pool")
    atexit.register(mark, "handler of the task")

@task(timeout=timedelta(seconds=1))
def hangs() -> None:
    threading.Thread(target=time.sleep, args=(60,)).start()

with Dag("d") as dag:
    leaves() >> hangs()

atexit.register(mark, "handler of the program")

if __name__ == "__main__":
    ppacer.serve(dag, grace=0.2)
"""


def test_threads_are_waited_for_in_the_time_of_the_attempt_and_exit_handlers_run(
    program: Callable[[str], Program],
) -> None:
    p = program(SOURCE).start()
    detail = p.wait(p.trigger("d"))
    assert [(task["status"], task["reason"]) for task in detail["tasks"]] == [
        ("SUCCESS", None),
        ("FAILED", "TIMED_OUT"),
    ]
    marks = p.lines("ledger")
    assert set(marks) == {"thread", "pool", "handler of the task"}
    assert marks[-1] == "handler of the task"
    assert p.stop() == 0
    assert p.lines("ledger")[-1] == "handler of the program"
    assert len(set(p.lines("ledger"))) == len(p.lines("ledger"))
