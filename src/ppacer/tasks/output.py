"""The output of a command, line by line into a logger while it runs, in bounded memory."""

import logging
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import IO

LINE_MAX = 65_536  # bytes; a longer line is logged in pieces
READ_MAX = 65_536  # bytes per read, so that deadlines are looked at in between
TAIL_LINES = 10  # of stderr, for the error message
TAIL_LINE_MAX = 300  # characters


class Output:
    """Both pipes of a process, read by turns; the logger's pace becomes that of the command."""

    def __init__(self, process: "subprocess.Popen[bytes]", logger: logging.Logger) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._pipes: list[IO[bytes]] = [process.stdout, process.stderr]
        self._stderr_tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._streams = [
            _Stream(logger, logging.INFO, "stdout", deque(maxlen=0)),
            _Stream(logger, logging.WARNING, "stderr", self._stderr_tail),
        ]
        self._selector = selectors.DefaultSelector()
        for pipe, stream in zip(self._pipes, self._streams, strict=True):
            self._selector.register(pipe, selectors.EVENT_READ, stream)

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()

    @property
    def is_open(self) -> bool:
        """True while some process may still write."""
        return bool(self._selector.get_map())

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines of stderr, shortened."""
        return list(self._stderr_tail)

    def pump(self, timeout: float) -> None:
        """Logs what there is; waits for it up to `timeout` seconds."""
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, READ_MAX)
            if data:
                key.data.feed(data)
            else:
                key.data.finish()
                self._selector.unregister(key.fileobj)

    def finish(self) -> None:
        """Logs what was written without a newline at its end."""
        for stream in self._streams:
            stream.finish()


class _Stream:
    """Cuts the bytes of one pipe into lines of the log."""

    def __init__(self, logger: logging.Logger, level: int, name: str, tail: deque[str]) -> None:
        self._logger, self._level, self._tail = logger, level, tail
        self._extra = {"stream": name}
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line)
        *pieces, self._rest = _pieces(rest)
        for piece in pieces:
            self._log(piece)

    def finish(self) -> None:
        if self._rest:
            self._log(self._rest)
            self._rest = b""

    def _log(self, line: bytes) -> None:
        for piece in _pieces(line.removesuffix(b"\r")):
            text = piece.decode("utf-8", "replace")
            self._tail.append(text if len(text) <= TAIL_LINE_MAX else text[: TAIL_LINE_MAX - 1] + "…")
            self._logger.log(self._level, "%s", text, extra=self._extra)


def _pieces(line: bytes) -> Iterator[bytes]:
    """The line in pieces of at most LINE_MAX bytes, no character cut in two; an empty line is one piece."""
    while len(line) > LINE_MAX:
        cut = LINE_MAX
        while cut > LINE_MAX - 3 and line[cut] & 0xC0 == 0x80:  # a byte in the middle of a UTF-8 character
            cut -= 1
        yield line[:cut]
        line = line[cut:]
    yield line
