"""Records of `logging` as the task log has them: message and traceback as text, `extra` as attributes."""

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from ppacer.executor.words import shorten

MESSAGE_BYTES_MAX = 64 * 1024
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
TASK_LOGGER = "ppacer.task"

_encoder = msgspec.msgpack.Encoder()


def spoken(record: logging.LogRecord) -> tuple[datetime, str, str, dict[str, Any] | None]:
    """Time, level, message and attributes of a record. Never raises: a broken log line fails no task."""
    at = datetime.fromtimestamp(record.created, UTC)
    return at, record.levelname, _message(record), _attributes(record)


class Ear(logging.Handler):
    """A handler of the root logger that hears what tasks say."""

    _given = logging.NOTSET  # the level that the logger of tasks has from here

    def listen(self, level: int) -> None:
        """Hears everything from `level` on.

        The levels that a file of dags sets itself count: one below the usual INFO lets more through. A level
        above INFO is a limit for everybody: somebody wants less.
        """
        root, task = logging.getLogger(), logging.getLogger(TASK_LOGGER)
        self.setLevel(level if level > logging.INFO else logging.NOTSET)
        root.addHandler(self)
        root.setLevel(min(root.level, level))
        if task.level in (logging.NOTSET, self._given):
            self._given = root.level
            task.setLevel(root.level)  # or that of the scheduler's own log would count for it


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception as error:  # arguments that do not fit the format
        message = f"{_shown(record.msg)} with arguments {_shown(record.args)} ({type(error).__name__})"
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    parts = (message, record.exc_text, record.stack_info)
    return shorten("\n".join(part for part in parts if part), MESSAGE_BYTES_MAX)


def _attributes(record: logging.LogRecord) -> dict[str, Any] | None:
    extra = {key: value for key, value in vars(record).items() if key not in STANDARD}
    if not extra:
        return None
    try:
        plain: dict[str, Any] = msgspec.to_builtins(extra, str_keys=True, enc_hook=_shown)
        size = len(_encoder.encode(plain))
    except Exception:  # what msgpack has no word for: huge numbers, lone surrogates, hostile objects
        plain, size = {str(key): shorten(_shown(value), 1_000) for key, value in extra.items()}, 0
    return plain if size <= MESSAGE_BYTES_MAX else {"cut": shorten(_shown(plain), MESSAGE_BYTES_MAX // 4)}


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: str() raised {type(error).__name__}>"


class Outside(logging.Filter):
    """For handlers that are not ours: passes what they got before the root logger's level was lowered."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record would have come through with the old level of the root logger."""
        if record.levelno >= self.level:
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.parent is not None:
            if logger.level:
                return logger.name != TASK_LOGGER
            logger = logger.parent
        return False
