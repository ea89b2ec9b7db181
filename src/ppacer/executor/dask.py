"""Dask as a cluster: jobs are tasks of it, and what they say comes through a queue on its scheduler.

So only the ports that Dask uses anyway need to be open. This module is imported on both sides: by the
executor, and by the workers, where Dask calls `attempt`.
"""

import contextlib
import threading
import uuid
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from distributed import Client, Event, Future, Queue, get_client, get_worker

from ppacer.executor.cluster import ClusterAwayError, Hearing, knock
from ppacer.executor.cluster_job import run
from ppacer.protocol import End

CONNECT_SECONDS = 10.0
MESSAGES_MAX = 1_000  # that wait on Dask's scheduler; then workers wait, too
PUT_SECONDS = 5.0
CALLS_SECONDS = 10.0  # at a close, for calls that are under way
CHECK_SECONDS = 2.0
PREFIX = "ppacer-"  # of the keys and names on Dask's scheduler
RUNNING = ("executing", "long-running")


class DaskCluster:
    """A Dask cluster, by the address of its scheduler."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._session: _Session | None = None

    def connect(self, hearing: Hearing) -> None:
        """Connects with a client and a queue of its own. Raises ClusterAwayError."""
        self.close()
        try:
            knock(self.address)
            self._session = _Session(self.address, hearing)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterAwayError(f"the Dask cluster at {self.address} does not answer: {error}") from error

    def submit(self, token: str, job: bytes) -> None:
        """Hands over a job. Raises ClusterAwayError."""
        if self._session is None or not self._session.is_running:
            raise ClusterAwayError(f"the connection to the Dask cluster at {self.address} is gone")
        self._session.submit(token, job)

    def end(self, token: str, end: End) -> None:
        """Releases the task: one that waits never begins, and one that runs sees it."""
        if self._session is not None:
            self._session.end(token, end)

    def forget(self, token: str, *, is_over: bool) -> None:
        """Lets go of the task."""
        if self._session is not None:
            self._session.forget(token, is_over)

    def close(self) -> None:
        """Disconnects, which releases every task."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class _Session:
    """One connection; what was submitted by it ends with it."""

    def __init__(self, address: str, hearing: Hearing) -> None:
        self._hearing = hearing
        self._futures: dict[str, Future] = {}
        self._workers: dict[str, str] = {}  # where jobs are, by token
        self._closed = threading.Event()
        self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="ppacer")
        self._gone = f"the connection to the Dask cluster at {address} is gone"
        self._queue = Queue(PREFIX + uuid.uuid4().hex, client=self._client, maxsize=MESSAGES_MAX)
        self._listener = threading.Thread(target=self._listen, name="ppacer-dask", daemon=True)
        self._listener.start()
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._caller = threading.Thread(target=self._call, name="ppacer-dask-calls", daemon=True)
        self._caller.start()
        threading.Thread(target=self._watch_workers, name="ppacer-dask-workers", daemon=True).start()

    @property
    def is_running(self) -> bool:
        """Whether jobs are taken."""
        return not self._closed.is_set() and bool(self._client.status == "running")

    def submit(self, token: str, job: bytes) -> None:
        """Hands over a job."""
        future = self._futures[token] = self._client.submit(
            attempt, job, token, self._queue.name, key=PREFIX + token, pure=False, retries=0
        )
        future.add_done_callback(lambda done: self._done(token, done))

    def end(self, token: str, end: End) -> None:
        """Has a job end, by letting go of it."""
        if end is End.HANDED_BACK:  # without that word it says `cancelled` in its log
            self._calls.put(lambda: Event(_back(token), client=self._client).set())
        self._release(self._futures.get(token))

    def forget(self, token: str, is_over: bool) -> None:
        """Lets go of a job."""
        future = self._futures.pop(token, None)
        self._workers.pop(token, None)
        self._release(future)
        if is_over and self.is_running:  # else Dask could still start it, and shall find the mark
            for name in (_mark(token), _back(token)):
                self._calls.put(partial(self._clear, name))

    def _release(self, future: Future | None) -> None:
        if future is not None:
            self._calls.put(partial(future.cancel, reason="ppacer", msg="ended by ppacer"))

    def _clear(self, name: str) -> None:
        Event(name, client=self._client).clear()

    def _call(self) -> None:
        """Asks Dask's scheduler for one thing after the other; one that hangs would hold up who waits."""
        while (call := self._calls.get()) is not None:
            with contextlib.suppress(Exception):
                call()

    def close(self) -> None:
        """Lets go of everything."""
        is_running = self.is_running
        self._closed.set()
        if is_running:
            self._calls.put(self._close_queue)
        self._calls.put(None)
        self._caller.join(CALLS_SECONDS)
        with contextlib.suppress(Exception):  # it does not answer, or has gone
            self._client.close(timeout=CONNECT_SECONDS)

    def _close_queue(self) -> None:
        self._queue.put(None)  # or Dask's scheduler would wait for ever for what `get` asks
        self._listener.join(PUT_SECONDS)
        self._queue.close()

    # -- hearing ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while not self._closed.is_set():
                # Without a timeout: Dask's scheduler logs each one as an error.
                first = self._queue.get()
                for message in () if first is None else (first, *self._queue.get(batch=True)):
                    if message is not None:
                        self._hear(*message)
        except BaseException as error:  # CancelledError, too: the client gave up
            if not self._closed.is_set():
                self._hearing.cut_off(f"{self._gone} ({type(error).__name__})")

    def _hear(self, token: str, worker: str, data: bytes) -> None:
        if token in self._futures:
            self._workers[token] = worker
        self._hearing.said(token, data)

    def _watch_workers(self) -> None:
        """A job whose worker has gone waits in Dask for another one, perhaps for ever."""
        while not self._closed.wait(CHECK_SECONDS):
            try:
                there = self._client.scheduler_info(n_workers=-1)["workers"]
            except Exception:  # away, which `_listen` tells
                continue
            for token, worker in list(self._workers.items()):
                if worker not in there:
                    self._hearing.lost(token, _lost(f"worker {worker} is gone"))

    def _done(self, token: str, future: Future) -> None:
        """The task is over for Dask; usually its last message has come, or will at once."""
        if self._closed.is_set() or token not in self._futures:
            return
        error = future.exception() if future.status == "error" else None
        if isinstance(error, ImportError):
            self._hearing.lost(token, f"the workers of this cluster lack ppacer: {error}", is_unfit=True)
        else:
            self._hearing.lost(token, _lost("its worker is gone" if error is None else str(error)))


def _lost(why: str) -> str:
    return f"lost: {why}"


def _mark(token: str) -> str:
    return f"{PREFIX}begun-{token}"


def _back(token: str) -> str:
    return f"{PREFIX}back-{token}"


# -- on the worker -------------------------------------------------------------------------------------------


def attempt(job: bytes, token: str, queue: str) -> None:
    """Runs one attempt on this worker, unless it was begun on another one.

    When a worker dies Dask starts its tasks anew, `retries=0` or not; the mark is what they find then.
    """
    client = get_client()
    mark = Event(_mark(token), client=client)
    if mark.is_set():
        return
    mark.set()
    line = _Line(client, token, queue)
    try:
        run(job, line)
    finally:
        line.close()


class _Line:
    """From a task on a worker to its executor."""

    def __init__(self, client: Client, token: str, queue: str) -> None:
        self._worker = get_worker()
        self._client, self._token, self._key = client, token, self._worker.get_current_task()
        self._queue = Queue(queue, client=client, maxsize=MESSAGES_MAX)
        self.where: str = self._worker.address

    def send(self, data: bytes) -> None:
        """Puts a message into the queue; gives up when that is full and nobody wants the attempt any more."""
        while True:
            try:
                self._queue.put((self._token, self.where, data), timeout=PUT_SECONDS)
            except TimeoutError:
                if self._is_wanted():
                    continue
            return

    def end(self) -> End | None:
        """Whether the executor, or its end, has released the task."""
        if self._is_wanted():
            return None
        is_back = Event(_back(self._token), client=self._client).is_set()
        return End.HANDED_BACK if is_back else End.CANCELLED

    def _is_wanted(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is not None and task.state in RUNNING

    def close(self) -> None:
        """Lets go of the queue, which Dask keeps as long as somebody has it."""
        self._queue.close()
