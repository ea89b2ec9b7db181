"""The folder of an executor: who it is, across restarts, and what it has still to report."""

import fcntl
import logging
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Self

import msgspec

from ppacer.errors import ConfigError

log = logging.getLogger("ppacer.executor")


class Identity(msgspec.Struct, frozen=True):
    """What a folder says about its executor: a restart in the same folder is the same executor."""

    identity: str


class Folder:
    """Holds the folder while it is open: two programs never share one. The kernel frees it at death."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def reports(self) -> Path:
        """The file of the reports that are to be delivered."""
        return self.path / "reports.jsonl"

    @property
    def usual_name(self) -> str:
        """The name of the executor where nobody has given it one."""
        host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:150]
        return f"{host}-{self.identity[:4]}"

    def __enter__(self) -> Self:
        """Makes the folder if there is none. Raises ConfigError when another program has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.identity = self._identity()
        except BlockingIOError:
            self.__exit__()
            raise ConfigError(
                f"another executor runs in the folder {self.path}; choose another with --dir"
            ) from None
        except OSError as error:
            self.__exit__()
            raise ConfigError(f"the folder {self.path} cannot be used: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _identity(self) -> str:
        file = self.path / "executor.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Identity).identity
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("%s cannot be read: from now on this is another executor", file)
            identity = secrets.token_hex(8)
            file.write_bytes(msgspec.json.encode(Identity(identity)))
            return identity
