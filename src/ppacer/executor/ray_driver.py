"""The process that is connected to Ray for an executor, and what runs on Ray's workers.

Jobs are tasks of Ray, never repeated by it; what they say comes through an actor, the mailbox. When the
executor is gone this process ends, and Ray ends all tasks of it.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any

import ray

from ppacer.executor.cluster_job import run
from ppacer.executor.frames import READ_MAX, Frames, frame
from ppacer.executor.ray import TO_DRIVER, Finish, Forget, FromDriver, Heard, Lost, Ready, Submit, ToDriver
from ppacer.protocol import End

GOODBYE_SECONDS = 15.0  # for tasks to end; the usual grace time is 5 s
MAILBOX_SECONDS = 30.0  # for the actor to start
MESSAGES_MAX = 1_000  # that wait in the mailbox; then workers wait, too
CALLS_MAX = 100_000  # calls of the mailbox at a time; each attempt has one or two


def main() -> None:
    """Serves the executor at the other end of a socket, whose number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the executor, which ends us
    try:
        Driver(socket.socket(fileno=int(sys.argv[1]))).run(sys.argv[2])
    finally:
        os._exit(0)


class Driver:
    """Does what the executor says, as long as that is there."""

    def __init__(self, executor: socket.socket) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._refs: dict[str, Any] = {}
        self._begun: set[str] = set()
        self._is_ending = False

    def run(self, address: str) -> None:
        """Connects and serves; returns when the executor is gone."""
        try:
            self._connect(address)
        except Exception as error:  # Ray raises many kinds
            self._send(Ready(f"{type(error).__name__}: {error}".splitlines()[0]))
            return
        self._send(Ready())
        threading.Thread(target=self._listen, daemon=True).start()
        frames: Frames[ToDriver] = Frames(TO_DRIVER)
        while data := self._executor.recv(READ_MAX):
            for message in frames.feed(data):
                self._do(message)
        self._end_all()

    def _connect(self, address: str) -> None:
        ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.WARNING)
        actor = ray.remote(num_cpus=0, max_concurrency=CALLS_MAX, max_restarts=0)(Mailbox)
        self._mailbox = actor.remote()
        ray.get(self._mailbox.ready.remote(), timeout=MAILBOX_SECONDS)
        self._attempt = ray.remote(max_retries=0)(attempt)

    def _end_all(self) -> None:
        """Ray would end them, too, but so: it kills the warm parent before what the tasks have started."""
        self._is_ending = True
        refs = dict(self._refs)
        for token, ref in refs.items():
            self._mailbox.tell.remote(token, End.CANCELLED.value)
            if token not in self._begun:
                ray.cancel(ref, force=False)
        if refs:
            ray.wait(list(refs.values()), num_returns=len(refs), timeout=GOODBYE_SECONDS)

    def _send(self, message: FromDriver) -> None:
        with self._lock:
            self._executor.sendall(frame(message))

    def _do(self, message: ToDriver) -> None:
        match message:
            case Submit(token, job):
                ref = self._refs[token] = self._attempt.remote(job, token, self._mailbox)
                ref.future().add_done_callback(lambda done: self._done(token, done.exception()))
            case Finish(token, end):
                self._mailbox.tell.remote(token, end.value)
                if token in self._refs and token not in self._begun:
                    ray.cancel(self._refs[token], force=False)
            case Forget(token, is_over):
                ref = self._refs.pop(token, None)
                self._begun.discard(token)
                self._mailbox.forget.remote(token)
                if ref is not None and not is_over:
                    ray.cancel(ref, force=True)

    def _listen(self) -> None:
        try:
            while True:
                for token, data in ray.get(self._mailbox.take.remote()):
                    if token in self._refs:
                        self._begun.add(token)
                    self._send(Heard(token, data))
        except OSError:  # the executor is gone, which `run` sees
            pass
        except BaseException:  # without the mailbox there is nothing left to do
            if not self._is_ending:
                os._exit(1)

    def _done(self, token: str, error: BaseException | None) -> None:
        """The task is over for Ray; usually its last message has come, or will at once."""
        if isinstance(error, ImportError):
            self._send(Lost(token, f"the workers of this cluster lack ppacer: {error}", is_unfit=True))
        elif token in self._refs:
            why = "its worker is gone" if error is None else f"{type(error).__name__} {error}".splitlines()[0]
            self._send(Lost(token, f"lost: {why}"))


# -- on the workers ------------------------------------------------------------------------------------------


class Mailbox:
    """An actor in the cluster: messages of all workers to the executor, and its words to each of them."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MESSAGES_MAX)
        self._words: dict[str, asyncio.Future[str | None]] = {}

    async def ready(self) -> None:
        """Answers when the actor is there."""

    async def put(self, token: str, data: bytes) -> None:
        """Takes a message; waits while there are too many."""
        await self._messages.put((token, data))

    async def take(self) -> list[tuple[str, bytes]]:
        """All messages, as soon as there is one."""
        messages = [await self._messages.get()]
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages

    async def hear(self, token: str) -> str | None:
        """Waits for the word that an attempt shall end; None when nobody thinks of it any more."""
        return await self._word(token)

    async def tell(self, token: str, word: str) -> None:
        """Says that an attempt shall end."""
        if not (told := self._word(token)).done():
            told.set_result(word)

    async def forget(self, token: str) -> None:
        """Frees what is held for an attempt."""
        if (told := self._words.pop(token, None)) is not None and not told.done():
            told.set_result(None)

    def _word(self, token: str) -> "asyncio.Future[str | None]":
        return self._words.setdefault(token, asyncio.get_running_loop().create_future())


def attempt(job: bytes, token: str, mailbox: Any) -> None:
    """Runs one attempt on this worker."""
    run(job, _Line(token, mailbox))


class _Line:
    """From a task on a worker to its executor."""

    def __init__(self, token: str, mailbox: Any) -> None:
        self._token, self._mailbox = token, mailbox
        self._word = mailbox.hear.remote(token)
        self.where = f"{ray.util.get_node_ip_address()} (process {os.getpid()})"

    def send(self, data: bytes) -> None:
        """Puts a message into the mailbox."""
        ray.get(self._mailbox.put.remote(self._token, data))

    def end(self) -> End | None:
        """What the executor has said about the end."""
        ready, _ = ray.wait([self._word], timeout=0)
        if not ready:
            return None
        try:
            return End(ray.get(ready[0]) or End.CANCELLED)
        except ray.exceptions.RayError:  # the mailbox is gone, and with it the executor
            return End.CANCELLED
