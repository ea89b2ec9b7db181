"""Numbers of runs as people search for them: `123`, `#123`."""

import re

from ppacer.api.door import Door
from ppacer.store.store import INTEGER_MAX

NUMBER = re.compile(r"#?([0-9]{1,18})")


def number_in(text: str | None) -> int | None:
    """The number of a run that a text is, if it is one."""
    found = NUMBER.fullmatch((text or "").strip())
    return int(found[1]) if found and int(found[1]) <= INTEGER_MAX else None


def run_by_number(door: Door, text: str | None) -> str | None:
    """The path of the run whose number this is, if there is one."""
    run_id = number_in(text)
    return f"/runs/{run_id}" if run_id is not None and door.reads.runs_of([run_id]) else None
