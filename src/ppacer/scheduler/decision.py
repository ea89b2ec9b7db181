"""What follows from a command."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ppacer.engine.changes import Change


class Decision(NamedTuple):
    """What follows from a command; `happened` tells from the rows whether it was committed."""

    changes: list[Change]
    reply: Any
    happened: Callable[[], bool]
