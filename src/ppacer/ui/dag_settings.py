"""How a dag and its tasks are set up, and which versions of it there were."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ppacer.api.door import Door, dag_of
from ppacer.api.parameters import Parameter
from ppacer.api.problems import RequestError
from ppacer.api.why import about
from ppacer.dag.check import shown
from ppacer.store.views import ConfigView
from ppacer.ui.dag import head_of
from ppacer.ui.forms import fields_of
from ppacer.ui.page import Page

TASKS_MAX, VERSIONS_MAX = 100, 20
PLACE = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Row:
    """A task and its configuration in words; `more` is what few tasks have."""

    task: ConfigView
    runner: str
    retries: str
    timeout: str
    more: list[str]


def show(door: Door, now: datetime, dag_id: str, after: tuple[int, int] | None) -> dict[str, Any]:
    """Everything that is set, with the tasks behind a place."""
    head = head_of(door, now, dag_id, "Settings")
    configs = door.reads.dag_pages.configs(dag_id, after=after, limit=TASKS_MAX + 1)
    has_more = len(configs) > TASKS_MAX
    here = f"/dags/{dag_id}/settings"
    last = configs[:TASKS_MAX][-1].place if configs else (0, 0)
    return {
        **head,
        "catch_up": _catch_up(head["dag"].catch_up),
        "fields": fields_of(head["dag"].params_schema),
        "rows": [_row(config) for config in configs[:TASKS_MAX]],
        "next": f"{here}?after={last[0]}.{last[1]}" if has_more else None,
        "first": here if after is not None else None,
        "versions": door.reads.dag_pages.versions(dag_id, limit=VERSIONS_MAX),
    }


def _catch_up(value: Any) -> str:
    """`dags.Attributes` has a duration in seconds, as a float; a number of points is whole."""
    if value is True:
        return "on: every missed point runs"
    if value is False or value == 0:
        return "off: missed points are skipped"
    if isinstance(value, float):
        return f"missed points of the last {about(timedelta(seconds=value))} run"
    return "the newest missed point runs" if value == 1 else f"the newest {value:,} missed points run"


def _row(task: ConfigView) -> Row:
    config = task.config
    return Row(
        task, config.get("runner") or "default", _retries(config), _timeout(config), [*_more(config)]
    )  # fmt: skip


def _timeout(config: Mapping[str, Any]) -> str:
    return "none" if config.get("timeout") is None else _span(config["timeout"])


def _retries(config: Mapping[str, Any]) -> str:
    """`3, after 30s`; `3, after 30s × 2 each time`."""
    count = config.get("retries", 0)
    if not count:
        return "none"
    words = f"{count}, after {_span(config['retry_delay'])}" if config["retry_delay"] else f"{count}, at once"
    if config["retry_backoff"] != 1:
        words += f", each time × {config['retry_backoff']:g}, at most {_span(config['retry_delay_max'])}"
    return words + (f", up to {config['retry_jitter']:.0%} more" if config["retry_jitter"] else "")


def _more(config: Mapping[str, Any]) -> list[str]:
    words = [f"label {label}" for label in config.get("labels", ())]
    words += ["at most once"] * bool(config.get("at_most_once"))
    words += ["no alert on failure"] * (not config.get("alert_on_failure", True))
    words += ["alert on retry"] * bool(config.get("alert_on_retry"))
    return words + ([f"notifier {config['notifier']}"] if config.get("notifier") else [])


def _span(seconds: float) -> str:
    return about(timedelta(seconds=seconds))


def _place(text: str) -> tuple[int, int]:
    if not PLACE.fullmatch(text):
        raise RequestError(f"after must be a place as the page writes it, not {shown(text)}")
    depth, width = text.split(".")
    return int(depth), int(width)


AFTER = Parameter("after", "Only tasks behind this place in the graph.", _place, {"type": "string"})
PAGE = Page(
    "/dags/{dag_id}/settings", "dag_settings.html", show, lambda dag_id, **_: (dag_of(dag_id),),
    query=(AFTER,),
)  # fmt: skip
