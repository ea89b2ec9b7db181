"""Dags whose logs browser tests read."""

import time
from pathlib import Path

from ppacer import Dag, TaskContext, task

NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@task
def talk(ctx: TaskContext) -> None:
    """Says 6,000 lines, one of them nasty."""
    for number in range(6000):
        ctx.logger.info("line %d", number)
        if number == 1234:
            ctx.logger.error("%s needle \x1b[31mred\x1b[0m", NASTY)


@task
def go_on(ctx: TaskContext) -> None:
    """Says as many lines as each file tells, until one says none."""
    for step in range(100):
        file = Path(f"say-{step}")
        while not file.exists() or not file.read_text():
            time.sleep(0.02)
        count = int(file.read_text())
        for number in range(count):
            ctx.logger.info("step %d line %d", step, number)
        if not count:
            return


with Dag("long") as long:
    talk()
with Dag("live") as live:
    go_on()
