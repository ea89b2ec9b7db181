"""How an attempt ended, in words: the traceback of a task's own code, the cause of an exit, a record of both.

The first line of every text says what happened; it alone is enough for a table. Details follow after an
empty line.
"""

import inspect
import os
import re
import signal
import traceback
from datetime import datetime, timedelta
from types import TracebackType

import ppacer.clock
from ppacer.clock import in_words
from ppacer.errors import PpacerError
from ppacer.executor.runner import Outcome
from ppacer.protocol import End, Grant
from ppacer.tasklog import LogRecord

ERROR_BYTES_MAX = 16 * 1024
ERROR_HEAD_BYTES = 6 * 1024  # where it was called; the larger rest is where it failed
SUMMARY_MAX = 500  # characters of the first line

LOADED = re.compile(r"\bppacer_file_[0-9a-f]{12}_[^\s.]+\.")  # the module that ppacer.load makes of a file
MACHINERY = (
    os.path.dirname(inspect.getfile(ppacer.clock)) + os.sep,
    os.path.join(os.path.dirname(inspect.getfile(inspect)), "asyncio", ""),
)
RUNNERS = os.path.dirname(__file__) + os.sep  # where SIGTERM is answered, in the midst of the user's code
MEANINGS = {
    "SIGSEGV": "segmentation fault",
    "SIGBUS": "access to memory that is not there",
    "SIGABRT": "abort",
    "SIGFPE": "impossible arithmetic",
    "SIGILL": "illegal instruction",
    "SIGXCPU": "limit of CPU time",
    "SIGXFSZ": "limit of file size",
}


def error_text(error: BaseException) -> str:
    """What a person reads of an exception: what it is, then the traceback from the task's own code on.

    Never raises, whatever the exception does when it is looked at; at most 16 KiB, with head and tail kept.
    """
    try:
        return shorten(_error_text(error))
    except BaseException as broken:  # hostile exceptions, no memory: a sentence must come out in any case
        return f"{type(error).__name__} (it cannot be shown: {type(broken).__name__})"


def _error_text(error: BaseException) -> str:
    trace = strip(error.__traceback__)
    if trace is None and isinstance(error, PpacerError):  # our own sentence, found by our own code
        return str(error)
    shown = traceback.TracebackException(type(error), error, trace or error.__traceback__, compact=True)
    if trace is not None:
        _leave_out_ours(shown)
    only = list(shown.format_exception_only())
    summary = next((line for line in only if not line.startswith(" ")), only[0]).strip().splitlines()[0]
    if len(summary) > SUMMARY_MAX:
        summary = summary[: SUMMARY_MAX - 1] + "…"
    if type(error) is SystemExit:
        summary += " (a task succeeds by returning, not by sys.exit)"
    return LOADED.sub("", f"{summary}\n\n{''.join(shown.format())}").rstrip()


def _leave_out_ours(shown: traceback.TracebackException) -> None:
    """Without the frames of runners, also of the exceptions that led to this one."""
    error: traceback.TracebackException | None = shown
    while error is not None:
        error.stack[:] = [frame for frame in error.stack if not frame.filename.startswith(RUNNERS)]
        error = error.__cause__ or error.__context__


def strip(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames that only led to the user's code."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(MACHINERY):
        trace = trace.tb_next
    return trace


def shorten(text: str, bytes_max: int = ERROR_BYTES_MAX, head: int = ERROR_HEAD_BYTES) -> str:
    """Text that can be stored, of at most so many bytes: the middle goes, head and tail stay."""
    if len(text) <= bytes_max and text.isascii():
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= bytes_max:
        return data.decode()
    tail = bytes_max - head - 100
    start, end = data[:head].decode("utf-8", "ignore"), data[-tail:].decode("utf-8", "ignore")
    return f"{start}\n… {len(data) - head - tail:,} bytes left out …\n{end}"


def exit_text(status: int, out_of_memory: bool) -> str:
    """What became of a child that gave no result; `status` as `wait` gives it."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code} without a result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and out_of_memory:
        return "was killed by SIGKILL, probably out of memory (the count of oom_kill rose)"
    return f"was killed by {name}" + (f" ({MEANINGS[name]})" if name in MEANINGS else "")


def timeout_text(seconds: float | None) -> str:
    """The sentence for an attempt that took too long."""
    return f"timed out after {in_words(timedelta(seconds=seconds or 0.0))}"


def with_details(sentence: str, details: str | None) -> str:
    """A sentence as first line, and below it what else is known: of an error its traceback."""
    if not details:
        return sentence
    _, _, trace = details.partition("\n\n")  # which ends with what stands before it
    return shorten(f"{sentence}\n\n{trace if trace.startswith('Traceback') else details}")


def end_text(end: End) -> str:
    """The sentence for an attempt that somebody wanted to end."""
    if end is End.HANDED_BACK:
        return "handed back unfinished: the executor is stopping"
    return end.value.lower().replace("_", " ")


def unbegun(end: End) -> Outcome:
    """The outcome of an attempt that somebody wanted to end before it was begun."""
    return Outcome(end, end_text(end), begun=False)


def last_record(grant: Grant, outcome: Outcome, at: datetime) -> LogRecord:
    """What the log of an attempt says last: how it ended, where that is not success."""
    level = "WARNING" if outcome.end in (End.CANCELLED, End.HANDED_BACK) else "ERROR"
    message, attributes = outcome.error or end_text(outcome.end), {"end": outcome.end.value}
    return LogRecord(grant.dag_id, grant.exec_ts, grant.task_id, grant.retry, at, level, message, attributes)
