"""Where the answers come from: the scheduler that runs, over HTTP, or else its database, read only."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ppacer.errors import ConfigError, SchedulerUnavailable

if TYPE_CHECKING:
    from ppacer.api.wire import (
        Audit,
        BackfillDone,
        BackfillPlan,
        BackfillWanted,
        Done,
        Drained,
        LogQuestion,
        Logs,
        Next,
        TokenMade,
        TokenView,
    )
    from ppacer.choices import Role
    from ppacer.store.views import BackfillDetail, BackfillView, DagView, ExecutorView, RunDetail, RunView

DEFAULT_URL = "http://127.0.0.1:9321"


class Backend(Protocol):
    """What the commands ask for; `ppacer.api.client.HttpClient` says what each method does."""

    is_live: bool

    def close(self) -> None: ...
    def dags(self, *, after: str = "", limit: int = 100, tag: str | None = None) -> "list[DagView]": ...
    def executors(self, *, after: str = "", limit: int = 100) -> "list[ExecutorView]": ...
    def dag(self, dag_id: str) -> "DagView": ...
    def next(self, dag_id: str, *, count: int) -> "Next": ...
    def runs(
        self,
        *,
        dag_id: str | None = None,
        status: Sequence[str] = (),
        before: int | None = None,
        limit: int = 20,
    ) -> "list[RunView]": ...
    def run(self, run_id: int, *, wait: float = 0.0) -> "RunDetail": ...
    def logs(self, question: "LogQuestion") -> "Logs": ...
    def result(self, run_id: int, task_id: str) -> str: ...
    def why_dag(self, dag_id: str) -> str: ...
    def why_run(self, run_id: int) -> str: ...
    def why_task(self, run_id: int, task_id: str) -> str: ...
    def trigger(self, dag_id: str, params: dict[str, Any], exec_ts: datetime | None = None) -> "Done": ...
    def pause(self, dag_id: str) -> "Done": ...
    def unpause(self, dag_id: str) -> "Done": ...
    def cancel(self, run_id: int) -> "Done": ...
    def restart(self, run_id: int) -> "Done": ...
    def backfills(
        self, *, dag_id: str | None = None, before: int | None = None, limit: int = 20
    ) -> "list[BackfillView]": ...
    def backfill(self, backfill_id: int, *, wait: float = 0.0) -> "BackfillDetail": ...
    def why_backfill(self, backfill_id: int) -> str: ...
    def plan_backfill(self, dag_id: str, begin: str, end: str | None) -> "BackfillPlan": ...
    def start_backfill(self, dag_id: str, wanted: "BackfillWanted") -> "BackfillDone": ...
    def pause_backfill(self, backfill_id: int) -> "BackfillDone": ...
    def unpause_backfill(self, backfill_id: int) -> "BackfillDone": ...
    def cancel_backfill(self, backfill_id: int) -> "BackfillDone": ...
    def drain(self, executor: str) -> "Drained": ...
    def undrain(self, executor: str) -> "Drained": ...
    def tokens(self) -> "list[TokenView]": ...
    def create_token(self, name: str, role: "Role", expires_at: datetime | None) -> "TokenMade": ...
    def revoke_token(self, name: str) -> "TokenView": ...
    def audit(self, **query: Any) -> "Audit": ...


def open_backend(
    db: str | None, logs_db: str | None, url: str | None, token_file: str | None = None
) -> Backend:
    """The backend that the options mean. A flag counts more than PPACER_URL, that more than ppacer.toml."""
    from ppacer.api.client import HttpClient
    from ppacer.cli.options import client_token

    token = client_token(token_file)

    if url is not None and db is not None:
        raise ConfigError("--url and --db name two different things; give one of them")
    if url is None and db is None:
        url = os.environ.get("PPACER_URL") or None
    if url is not None:
        return HttpClient(url, token)
    from ppacer.config import load
    from ppacer.store import owner_of

    settings = load({}, {"db": db, "logs_db": logs_db}, os.environ, Path.cwd())
    file = settings.db_file
    owner = _leader(settings.db) if file is None else owner_of(file)
    if owner is not None and owner.get("url"):
        return HttpClient(reachable(owner["url"]), token)
    if file is not None and not file.exists():
        raise SchedulerUnavailable(_nothing_there(settings.db, token))
    from ppacer.cli.offline import Offline

    return Offline(settings, None if owner is None else owner.get("pid", 0))


def _leader(db: str) -> dict[str, Any] | None:
    """Where the scheduler answers that leads on a server, unless only its own machine can ask it."""
    from ppacer.store.leader import leader_of

    leader = leader_of(db)
    url = None if leader is None or leader.url is None else leader_url(leader.url, leader.holder)
    return None if url is None else {"url": url}


def leader_url(url: str, holder: str) -> str | None:
    """How the leader is asked from this machine, whose programs have names that begin with its own.

    The name of this machine in a URL stands for all its addresses, and need not be known here.
    """
    import socket
    from urllib.parse import urlsplit

    name, parts = socket.gethostname(), urlsplit(url)
    if holder.startswith(f"{name}-"):
        return f"http://127.0.0.1:{parts.port}" if parts.hostname == name.lower() else url
    host = parts.hostname or ""
    return None if host.startswith("127.") or host in ("::1", "0.0.0.0", "::") else url


def reachable(url: str) -> str:
    """The address at which a scheduler of this machine answers that listens on all addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _nothing_there(db: str, token: str | None) -> str:
    """There is neither a scheduler nor a database; perhaps there is a scheduler where it usually is."""
    from ppacer.api.client import HttpClient
    from ppacer.errors import PpacerError

    advice = f"but a scheduler answers at {DEFAULT_URL}: name it with --url"
    client = HttpClient(DEFAULT_URL, token)
    try:
        client.dags(limit=1)
    except PpacerError:
        advice = "start a scheduler with `ppacer serve FILE`, or name one with --db or --url"
    finally:
        client.close()
    return f"there is no database {db}; {advice}"
