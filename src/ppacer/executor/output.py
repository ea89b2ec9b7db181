"""What one attempt says, as log records: cut into lines at once, bounded in memory whatever it says.

The first 32 MiB go on as they come (the head). Of everything after that the last 32 MiB are kept as bytes
(the tail), and become records at the end, behind one that says how much was left out.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from ppacer.protocol import Grant
from ppacer.tasklog import LogRecord

HEAD_BYTES = 32 * 1024 * 1024
HEAD_LINES = 500_000  # of 50 bytes and more 32 MiB come first; a million empty lines are no better than half
LINE_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
CHUNK_COST = 256  # memory of a chunk besides its bytes
BATCH = 1_000  # records handed on at once at the end

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
LEVEL_OF = {"stdout": "INFO", "stderr": "WARNING"}
ATTRIBUTES_OF: dict[str, dict[str, Any]] = {name: {"stream": name} for name in STREAMS}


class Output:
    """The output and the records of one attempt on their way to the task log, in the order of arrival."""

    def __init__(
        self,
        grant: Grant,
        emit: Callable[[Sequence[LogRecord]], None],
        bytes_max: int = HEAD_BYTES,
        lines_max: int = HEAD_LINES,
    ) -> None:
        self._of = (grant.dag_id, grant.exec_ts, grant.task_id, grant.retry)
        self._emit = emit
        self._bytes_max, self._lines_max = bytes_max, lines_max
        self._bytes_left, self._lines_left = bytes_max, lines_max
        self._rest = {stream: bytearray() for stream in STREAMS}  # what has no newline yet
        self._tail: _Tail | None = None

    def feed(self, stream: Stream, data: bytes, at: datetime) -> None:
        """Takes bytes of stdout or stderr, cut anywhere."""
        if self._tail is not None:
            self._tail.add_bytes(stream, data, at)
            return
        records = self._lines(stream, data, at)
        if records:
            self._emit(records)
        self._spend(len(data), len(records), at)

    def say(self, at: datetime, level: str, message: str, attributes: dict[str, Any] | None) -> None:
        """Takes one record of `logging`."""
        record = LogRecord(*self._of, at, level, message, attributes)
        if self._tail is not None:
            self._tail.add_record(record)
            return
        self._emit([record])
        self._spend(_size(record), 1, at)

    def finish(self, at: datetime) -> Iterator[Sequence[LogRecord]]:
        """The records still to be handed on, in batches; afterwards nothing more is taken."""
        tail, self._tail = self._tail, None
        if tail is not None:
            if tail.bytes_left_out:
                yield [self._left_out(tail, at)]
            yield from self._batches(tail)
        last = [record for stream in STREAMS for record in self._flush(stream, at)]
        if last:
            yield last

    @property
    def is_long(self) -> bool:
        """Whether finishing takes so long that others should have their turn in between."""
        return self._tail is not None

    def _spend(self, size: int, lines: int, at: datetime) -> None:
        self._bytes_left -= size
        self._lines_left -= lines
        if self._bytes_left <= 0 or self._lines_left <= 0:
            self._tail = _Tail(self._bytes_max, self._lines_max)
            for stream, rest in self._rest.items():  # the tail begins with the line that the head broke off
                self._tail.add_bytes(stream, rest, at)
                rest.clear()

    def _lines(self, stream: Stream, data: bytes | bytearray, at: datetime) -> list[LogRecord]:
        """Records of the lines that are complete now."""
        rest = self._rest[stream]
        lines, newline, after = data.rpartition(b"\n")
        if not newline:
            rest += data
            *pieces, self._rest[stream] = map(bytearray, _pieces(rest))
            return [self._record(stream, _text(piece), at) for piece in pieces]
        whole = rest + lines
        self._rest[stream] = bytearray(after)
        texts = _text(whole).replace("\r\n", "\n").removesuffix("\r").split("\n")
        if len(whole) > LINE_BYTES and max(map(len, texts)) > LINE_BYTES // 4:
            texts = [_text(piece) for text in texts for piece in _pieces(text.encode())]
        level, attributes = LEVEL_OF[stream], ATTRIBUTES_OF[stream]
        dag_id, exec_ts, task_id, retry = self._of
        return [LogRecord(dag_id, exec_ts, task_id, retry, at, level, text, attributes) for text in texts]

    def _flush(self, stream: Stream, at: datetime) -> list[LogRecord]:
        """A record of the last line, if it lacks its newline."""
        rest = self._rest[stream]
        return [self._record(stream, _text(rest), at)] if rest else []

    def _record(self, stream: Stream, text: str, at: datetime) -> LogRecord:
        return LogRecord(*self._of, at, LEVEL_OF[stream], text, ATTRIBUTES_OF[stream])

    def _left_out(self, tail: "_Tail", at: datetime) -> LogRecord:
        kept = f"of a long log the first and last {self._bytes_max // 2**20} MiB are kept"
        message = (
            f"{tail.bytes_left_out:,} bytes, about {tail.lines_left_out:,} lines, are left out here; {kept}"
        )
        return LogRecord(*self._of, at, "WARNING", message, {"left_out": tail.bytes_left_out})

    def _batches(self, tail: "_Tail") -> Iterator[list[LogRecord]]:
        batch: list[LogRecord] = []
        for item in tail:
            batch += [item] if isinstance(item, LogRecord) else self._lines(item.stream, item.data, item.at)
            while len(batch) >= BATCH:
                yield batch[:BATCH]
                batch = batch[BATCH:]
        if batch:
            yield batch


class _Chunk:
    """Bytes of one stream that came one after the other."""

    __slots__ = ("at", "data", "lines", "stream")

    def __init__(self, stream: Stream, at: datetime) -> None:
        self.stream, self.at = stream, at
        self.data, self.lines = bytearray(), 0


class _Tail:
    """The last so many bytes and lines of what was added: chunks of output, and records."""

    def __init__(self, bytes_max: int, lines_max: int) -> None:
        self._bytes_max, self._lines_max = bytes_max, lines_max
        self._chunk_bytes = min(CHUNK_BYTES, bytes_max // 8)
        self._chunk_lines = lines_max // 8
        self._items: deque[_Chunk | LogRecord] = deque()
        self._bytes = self._lines = 0
        self.bytes_left_out = self.lines_left_out = 0

    def __iter__(self) -> Iterator[_Chunk | LogRecord]:
        while self._items:  # what is read is let go: the records made of it need the memory
            yield self._items.popleft()

    def add_bytes(self, stream: Stream, data: bytes | bytearray, at: datetime) -> None:
        """Takes bytes of a stream, and joins them with those before if it can."""
        lines = data.count(b"\n")
        chunk = self._items[-1] if self._items else None
        if not isinstance(chunk, _Chunk) or chunk.stream != stream or not self._has_room(chunk, data, lines):
            chunk = _Chunk(stream, at)
            self._items.append(chunk)
            self._bytes += CHUNK_COST
        chunk.data += data
        chunk.lines += lines
        self._bytes += len(data)
        self._lines += lines
        self._drop()

    def add_record(self, record: LogRecord) -> None:
        """Takes a record of `logging`."""
        self._items.append(record)
        self._bytes += _size(record) + CHUNK_COST
        self._lines += 1
        self._drop()

    def _has_room(self, chunk: _Chunk, data: bytes | bytearray, lines: int) -> bool:
        return len(chunk.data) + len(data) <= self._chunk_bytes and chunk.lines + lines <= self._chunk_lines

    def _drop(self) -> None:
        while (self._bytes > self._bytes_max or self._lines > self._lines_max) and len(self._items) > 1:
            item = self._items.popleft()
            if isinstance(item, LogRecord):
                size, lines = _size(item), 1
            else:
                size, lines = len(item.data), item.lines
            self._bytes -= size + CHUNK_COST
            self._lines -= lines
            self.bytes_left_out += size
            self.lines_left_out += lines


def _size(record: LogRecord) -> int:
    """About how much memory its text takes."""
    return len(record.message) + (len(str(record.attributes)) if record.attributes else 0)


def _text(line: bytes | bytearray) -> str:
    return line.decode("utf-8", "replace")


def _pieces(line: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """The line in pieces of at most LINE_BYTES, no character cut in two; at least one piece."""
    start = 0
    while len(line) - start > LINE_BYTES:
        end = start + LINE_BYTES
        while end > start + LINE_BYTES - 3 and line[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        yield line[start:end]
        start = end
    yield line[start:]
