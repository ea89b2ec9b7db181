"""Several programs on one database: one leads, the others stand by and take over.

A thread takes the lead when it is free, and reigns as long as another one renews the lease. When that fails,
what reigned is torn down, having announced nothing that is not in the database, and the program stands by.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from ppacer.app.reign import Reign
from ppacer.errors import Deposed, StoreError
from ppacer.scheduler import Standby
from ppacer.store.leader import RENEW_SECONDS, Leader, Seat

log = logging.getLogger("ppacer")

LOOK_SECONDS = 1.0  # between two looks at the row of the leader
PAUSE_SECONDS = 5.0  # after a reign that could not begin: several looks, in which another may lead


def unique_name() -> str:
    """A name for this program, which none before or after it has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Leadership:
    """`reign` makes what lives while this program leads. Use as a context manager."""

    def __init__(
        self, seat: Seat, standby: Standby, reign: Callable[[int], AbstractContextManager[Reign]]
    ) -> None:
        self._seat = seat
        self._standby = standby
        self._reign = reign
        self._retired = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppacer-leadership", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the reign, and lets another one begin at once."""
        self.retire()
        self._ending.set()
        self._thread.join()
        self._seat.close()

    def retire(self) -> None:
        """It does not take the lead any more; a reign goes on."""
        self._retired.set()

    def is_alive(self) -> bool:
        """False when it has ended by itself."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._retired.is_set():
                term = self._take()
                if term is None:
                    self._retired.wait(LOOK_SECONDS)
                elif not self._lead(term):
                    self._retired.wait(PAUSE_SECONDS)
        except Exception:
            log.critical("the scheduler has failed and stops", exc_info=True)

    def _take(self) -> int | None:
        """A new term, or None while another one leads or the database is away."""
        standby = self._standby
        try:
            leader = self._seat.leader()
            if leader is not None and not leader.is_alive and standby.problem is not None:
                # It has lost the server as we have, and renews its lease now if it lives.
                self._retired.wait(RENEW_SECONDS)
                leader = self._seat.leader()
            term = None if leader is not None and leader.is_alive else self._seat.take()
        except StoreError as error:
            if standby.problem is None:
                log.error("the database refuses, waiting for it: %s", error)
            standby.leader, standby.problem = None, str(error)
            return None
        standby.problem = None
        if term is None and leader is not None and leader.is_alive:
            self._stand_by(leader)
        return term

    def _stand_by(self, leader: Leader) -> None:
        before, self._standby.leader = self._standby.leader, leader
        if before is None or before.term != leader.term:
            log.info("standing by: %s leads (%s)", leader.url or "another program", leader.holder)

    def _lead(self, term: int) -> bool:
        """Until it is over, by a stop or because somebody else has taken the lead; False: it never began."""
        self._standby.leader = None
        try:
            with Renewal(self._seat, term) as renewal, self._reign(term) as reign:
                log.info("leading, in term %d", term)
                self._reigns(reign, renewal)
        except Deposed:
            log.warning("another scheduler leads now: this one stands by")
        except StoreError as error:
            log.error("the scheduler cannot begin: %s", error)
            self._standby.problem = str(error)
            return False
        finally:
            self._release(term)
        return True

    def _reigns(self, reign: Reign, renewal: "Renewal") -> None:
        """Returns when it is to end. Raises Deposed."""
        while not self._ending.wait(LOOK_SECONDS / 4):
            is_alive = reign.is_alive()  # before the next look, because it ends when it is deposed
            if renewal.is_lost or reign.store.is_deposed:
                raise Deposed("another scheduler leads now")
            if not is_alive:
                raise RuntimeError("the scheduler's thread has ended")

    def _release(self, term: int) -> None:
        try:
            self._seat.release(term)
        except StoreError as error:
            log.warning("the lead cannot be handed over, it ends by itself: %s", error)


class Renewal:
    """Renews the lease of a term in a thread of its own: nothing that takes long shall end it."""

    def __init__(self, seat: Seat, term: int) -> None:
        self.is_lost = False
        self._seat = seat
        self._term = term
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppacer-renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wait = RENEW_SECONDS
        while not self._stopped.wait(wait) and not self.is_lost:
            try:
                self.is_lost = not self._seat.renew(self._term)
                wait = RENEW_SECONDS
            except StoreError as error:
                log.debug("the lease cannot be renewed: %s", error)
                wait = LOOK_SECONDS
