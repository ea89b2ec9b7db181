"""A whole program in this process, and a client that speaks to it over loopback, as exactly as needed.

`Live.ask` sends one request on a connection of its own, with Host and no other header that the test did not
ask for; `Live.raw` sends bytes. Tasks can be held at a `Gate` until the test lets them go.
"""

import http.client
import json
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ppacer.app.program import Program
from ppacer.config import Settings
from ppacer.dag import Dag, Registry
from ppacer.notify import MockSender

PATIENCE = 120  # seconds after which something that should have happened has not, on the slowest machine
LONG = 10 * PATIENCE  # of a long poll: one that is answered at all was not ended by its time


@dataclass(frozen=True)
class Answer:
    """One answer; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def kind(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("content-type", "").split(";")[0]


def until(look: Callable[[], Any]) -> None:
    """Waits until `look` gives something true."""
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Gate:
    """Holds tasks until `open`; `arrived` is set once one of them is there."""

    def __init__(self) -> None:
        self.arrived, self._opened = threading.Event(), threading.Event()

    def wait(self) -> None:
        """What the task calls."""
        self.arrived.set()
        assert self._opened.wait(LONG)

    def open(self) -> None:
        """Lets everybody through, now and later."""
        self._opened.set()

    def shut(self) -> None:
        """As it was in the beginning."""
        self.arrived.clear()
        self._opened.clear()


class Waiting:
    """A request that was sent; its answer may take a while."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection

    def is_answered(self, within: float) -> bool:
        """Whether something of the answer is there after so many seconds at most."""
        return bool(select.select([self.connection.sock], [], [], within)[0])

    def answer(self) -> Answer:
        """Waits for the answer; raises TimeoutError when there is none after `PATIENCE`."""
        return answer_of(self.connection.getresponse())


class Live:
    """A program with these dags, and the questions of a test to it."""

    def __init__(self, folder: Path, *dags: Dag, **settings: Any) -> None:
        options = {"runner": "thread", "echo": False, "port": 0, "drain": 0.5, "grace": 0.2, **settings}
        self.db, self.logs_db = folder / "scheduler.db", folder / "logs.db"
        self.settings = Settings(db=str(self.db), logs_db=str(self.logs_db), **options)
        self.program = Program(Registry(dags), self.settings, MockSender(), str, None)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.program.running())
        assert self.program.url is not None
        self.port = int(self.program.url.rsplit(":", 1)[1])
        self.host = f"127.0.0.1:{self.port}"
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the program, unless it has ended."""
        self._stack.close()

    # -- requests --------------------------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        """A connection that may be used for several requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """One request; a body that is neither text nor bytes is sent as JSON. A header None is left out."""
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        names = {name.lower() for name in headers or {}}
        with closing(self.connect()) as connection:
            connection.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                if value is not None:
                    connection.putheader(name, value)
            if data is not None or method == "POST":
                connection.putheader("Content-Length", str(len(data or b"")))
            connection.endheaders(data)
            return answer_of(connection.getresponse())

    def get(self, path: str, **headers: str) -> Answer:
        """GET; `sec_fetch_site="none"` becomes the header Sec-Fetch-Site."""
        return self.ask("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST, as `get`."""
        return self.ask(
            "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def raw(self, data: bytes, until: Callable[[bytes], bool] | None = None) -> bytes:
        """What comes back for these bytes until the server closes, or `until` is satisfied."""
        received = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection,
            suppress(ConnectionResetError, BrokenPipeError),  # it closes with something unread
        ):
            connection.sendall(data)
            while not (until and until(received)):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
        return received

    @contextmanager
    def asking(self, path: str) -> Iterator["Waiting"]:
        """A GET that is on its way when the block begins; the connection is closed when it ends."""
        with closing(self.connect()) as connection:
            connection.request("GET", path)
            yield Waiting(connection)

    # -- what tests do often ---------------------------------------------------------------------------------

    def trigger(self, dag_id: str, **params: Any) -> int:
        """Starts a run; its number."""
        answer = self.post(f"/api/v1/dags/{dag_id}/trigger", {"params": params})
        assert answer.status == 201, answer.text
        return int(answer.json["run_id"])

    def ended(self, run_id: int) -> Any:
        """The run in detail, once it has ended."""
        detail = self.get(f"/api/v1/runs/{run_id}?wait={PATIENCE // 2}").json
        assert detail["run"]["ended_at"], detail
        return detail

    def run(self, dag_id: str, **params: Any) -> int:
        """A run from its trigger to its end; its number."""
        run_id = self.trigger(dag_id, **params)
        self.ended(run_id)
        return run_id

    def rows(self) -> dict[str, list[Any]]:
        """All that a command could change, to see that a refused one has changed nothing."""
        with closing(sqlite3.connect(self.db)) as connection:
            tables = (
                "dags",
                "dagruns",
                "dagruntasks",
                "schedules",
                "dagrunrestarts",
                "dagrunresults",
                "outbox",
                "backfills",
            )
            return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def answer_of(response: http.client.HTTPResponse) -> Answer:
    """The response, read to its end; of a stream, which has none, the header."""
    is_stream = response.headers.get_content_type() == "text/event-stream"
    body = b"" if is_stream else response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def parsed(data: bytes) -> Answer:
    """The first answer in what `Live.raw` received."""

    class Received:
        def makefile(self, mode: str) -> Any:
            import io

            return io.BytesIO(data)

    response = http.client.HTTPResponse(Received())  # type: ignore[arg-type]  # it only calls makefile
    response.begin()
    return answer_of(response)


def is_problem(answer: Answer, status: int, code: str) -> bool:
    """Whether this is a problem detail with these values, complete, and with a sentence."""
    if answer.status != status or answer.kind != "application/problem+json":
        return False
    body = answer.json
    complete = set(body) == {"title", "status", "detail", "code", "type"} and body["title"] and body["detail"]
    return bool(complete) and body["status"] == status and body["code"] == code
