"""The two simplest tasks: one does nothing, one prints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppacer.dag import TaskContext


@dataclass(eq=False)
class Empty:
    """Does nothing: a place in the graph where branches begin or come together."""

    id: str

    def execute(self, ctx: "TaskContext") -> None:
        """Succeeds."""


@dataclass(eq=False)
class PrintTask:
    """Prints a line, ` >>> PrintTask <<<: ` and its id unless `message` says something else."""

    id: str
    message: str | None = None

    def execute(self, ctx: "TaskContext") -> None:
        """Prints, then notes in the task log that it did."""
        # flushed, so that captured output and the log record after it keep their order
        print(f" >>> PrintTask <<<: {self.id}" if self.message is None else self.message, flush=True)
        ctx.logger.info("PrintTask finished!")
