"""Instants that people write in commands: anything that a datetime can be."""

from datetime import datetime

from ppacer.clock import utc
from ppacer.errors import ParamsError


def in_utc(what: str, moment: datetime) -> datetime:
    """The instant in UTC. Raises ParamsError, about `what`, for one that means none."""
    text = moment.isoformat()
    if moment.tzinfo is None:
        raise ParamsError(f"{what} {text} has no time zone; add Z or an offset like +02:00")
    try:
        return utc(moment)
    except OverflowError as error:  # the first and the last hours of the calendar
        raise ParamsError(f"{what} {text} has none in UTC") from error
