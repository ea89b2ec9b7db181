"""The few options, and where they come from: constructor < ppacer.toml < PPACER_* < flags."""

import ipaddress
import logging
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ppacer.choices import LEVELS, RUNNERS
from ppacer.errors import ConfigError

log = logging.getLogger("ppacer")

FILE = "ppacer.toml"
NO_OPTIONS = {"URL", "TOKEN", "CHILD", "HOLDER"}  # PPACER_… that mean something else
SQLITE = re.compile(r"sqlite(?:\+\w+)?://(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set for a program; times in seconds.

    `slots`: attempts at once (0: twice the cores). `cluster`: where the runner `dask` or `ray` has its
    workers. `grace`: between TERM and KILL. `drain`: how long a stop waits for running attempts. `secrets`:
    names of environment variables whose values are masked. A `host` of other machines needs access tokens,
    unless `insecure`; with `require_token` this machine does too. A run is kept for `retention_days` after
    its end (0: for ever), and while it is among the newest `retention_runs` of its dag; `logs_max`: megabytes
    of task logs (0: no limit). Of an executor with its own program: `name` (that of the machine and its
    folder), `dir` for what it has to keep, `labels`.
    """

    db: str = "scheduler.db"
    logs_db: str = "logs.db"
    host: str = "127.0.0.1"
    port: int = 9321
    allowed_hosts: tuple[str, ...] = ()
    require_token: bool = False
    insecure: bool = False
    slots: int = 0
    runner: str = "process"
    cluster: str = ""
    grace: float = 5.0
    drain: float = 10.0
    lease: float = 30.0
    echo: bool = True
    secrets: tuple[str, ...] = ()
    log_level: str = "INFO"
    retention_days: float = 90.0
    retention_runs: int = 100
    logs_max: int = 1_000
    name: str = ""
    dir: str = "ppacer-executor"
    labels: tuple[str, ...] = ()

    @property
    def level(self) -> int:
        """`log_level` as `logging` counts: from there on the scheduler and tasks are heard."""
        return logging.getLevelNamesMapping()[self.log_level.upper()]

    @property
    def needs_token(self) -> bool:
        """Whether requests need an access token: from other machines always, unless told otherwise."""
        return self.require_token or not (is_loopback(self.host) or self.insecure)

    @property
    def db_file(self) -> Path | None:
        """The file of the database, whatever links lead to it; None when it is on a server."""
        return None if "://" in self.db else Path(self.db).resolve()

    @property
    def db_shown(self) -> str:
        """The database as people and logs may see it: without a password."""
        return shown(self.db)

    @property
    def slots_or_default(self) -> int:
        """How many attempts run at once."""
        return self.slots or 2 * (os.cpu_count() or 1)

    @property
    def cluster_runner(self) -> str | None:
        """The runner that `cluster` is for: Dask's addresses are URLs, Ray's are "auto", host:port or ray://."""
        if not self.cluster:
            return None
        is_ray = self.cluster.startswith("ray://") or "://" not in self.cluster
        return "ray" if is_ray else "dask"

    def retention_before(self, now: datetime) -> datetime | None:
        """What ended before is old; None when everything is kept for ever."""
        return now - timedelta(days=self.retention_days) if self.retention_days else None


def load(
    given: Mapping[str, Any], flags: Mapping[str, Any], environ: Mapping[str, str], folder: Path
) -> Settings:
    """Settings from all four places; a later one wins. Raises ConfigError naming the place and the option."""
    merged: dict[str, Any] = {}
    for where, values in (
        ("the arguments", {name: value for name, value in given.items() if value is not None}),
        (FILE, _from_file(folder / FILE)),
        ("the environment", _from_environ(environ)),
        ("the command line", {name: value for name, value in flags.items() if value is not None}),
    ):
        merged |= _checked(where, values)
    settings = _limits(msgspec.convert(merged, Settings, strict=False))
    db = _plain(settings.db)
    logs_db = _plain(settings.logs_db) if "logs_db" in merged else logs_beside(db)
    return msgspec.structs.replace(settings, db=db, logs_db=logs_db)


def shown(db: str) -> str:
    """A path or URL without the password in it."""
    hidden = re.sub(r"(://[^/?#:@]*):.*@", r"\1:***@", db)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", hidden)


def logs_beside(db: str) -> str:
    """Where the task logs of a database are that nobody has named: two databases never share them.

    `logs.db` beside `scheduler.db`, `shop-logs.db` beside `shop.db`, the database itself for one on a server.
    """
    if "://" in db:
        return db
    file = Path(db).resolve() if Path(db).is_symlink() else Path(db)
    is_usual = file.name == Settings().db
    return str(file.with_name("logs.db" if is_usual else f"{file.stem}-logs{file.suffix or '.db'}"))


def _plain(db: str) -> str:
    """The path in a URL of SQLite, so that one file has one lock however it is written; else as it is."""
    url = SQLITE.fullmatch(db)
    if url is None:
        return db
    if not url["path"] or "?" in url["path"]:
        raise ConfigError(f"{db} names no file; write a path, or sqlite:/// before it")
    return url["path"]


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """PPACER_DB, PPACER_PORT …; other variables of that form are somebody else's, or slips of the pen."""
    values: dict[str, Any] = {}
    _warn_of_slips(environ)
    for field in msgspec.structs.fields(Settings):
        text = environ.get(f"PPACER_{field.name.upper()}")
        if text is not None:
            is_list = field.name in ("allowed_hosts", "secrets", "labels")
            values[field.name] = (
                [part.strip() for part in text.split(",") if part.strip()] if is_list else text
            )
    return values


def _warn_of_slips(environ: Mapping[str, str]) -> None:
    known = {name.upper() for name in _TYPES} | NO_OPTIONS
    for variable in environ:
        name = variable.removeprefix("PPACER_")
        if name != variable and name not in known and (near := _near(name, known)):
            log.warning("%s in the environment is no option; did you mean PPACER_%s?", variable, near)


def _near(name: str, names: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1)), None)


def _checked(where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        try:
            _check(name, value)
        except ConfigError as error:
            raise ConfigError(f"an option in {where} is not possible: {error}") from None
    return {**values}


def _check(name: str, value: Any) -> None:
    if name not in _TYPES:
        near = _near(name, _TYPES)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(_TYPES)}"
        raise ConfigError(f"there is no {name!r}; {hint}")
    try:
        msgspec.convert(value, _TYPES[name], strict=False)
    except msgspec.ValidationError:
        raise ConfigError(f"{name} must be {_KINDS[_TYPES[name]]}, not {value!r}") from None


def _limits(settings: Settings) -> Settings:
    for name, wrong, want in (
        ("port", not 0 <= settings.port <= 65_535, "0 to 65535"),
        ("slots", not 0 <= settings.slots <= 10_000, "0 (twice the cores) to 10000"),
        ("runner", settings.runner not in RUNNERS, f"one of {', '.join(RUNNERS)}"),
        ("cluster", _lacks(settings, "dask"), "the address of a Dask scheduler, such as tcp://host:8786"),
        (
            "cluster",
            _lacks(settings, "ray"),
            "the address of a Ray cluster: auto, host:6379 or ray://host:10001",
        ),
        ("grace", not 0 <= settings.grace <= 3_600, "0 to 3600 seconds"),
        ("drain", not 0 <= settings.drain <= 86_400, "0 to 86400 seconds"),
        ("lease", not 0.1 <= settings.lease <= 3_600, "0.1 to 3600 seconds"),
        ("retention_days", not 0 <= settings.retention_days <= 36_500, "0 (for ever) to 36500 days"),
        # At least one, because numbers of runs go on from the newest.
        ("retention_runs", not 1 <= settings.retention_runs <= 1_000_000, "1 to 1000000"),
        ("logs_max", not 0 <= settings.logs_max <= 1_000_000_000, "0 (no limit) or megabytes"),
        ("name", not (settings.name == "" or _is_word(settings.name)), WORD),
        ("name", settings.name in NO_NAMES, f"another name than {', '.join(NO_NAMES)}"),
        ("labels", not all(map(_is_word, settings.labels)), f"words, each {WORD}"),
        ("log_level", settings.log_level.upper() not in LEVELS, f"one of {', '.join(LEVELS)}"),
    ):
        if wrong:
            raise ConfigError(f"{name} is {getattr(settings, name)!r}; it must be {want}")
    return settings


def _lacks(settings: Settings, runner: str) -> bool:
    """Whether this is the usual runner, without a cluster of its kind."""
    return settings.runner == runner != settings.cluster_runner


NO_NAMES = (".", "..", "local")  # parts of a path, and the executor inside a scheduler's own program
WORD = "1 to 200 letters, digits, '_', '-' and '.'"


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text) is not None


WILDCARDS = frozenset({"0.0.0.0", "::"})
"""What a server is told to listen on all addresses by."""


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_TYPES: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_KINDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}
