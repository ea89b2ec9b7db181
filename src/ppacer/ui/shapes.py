"""The shape of each state, as a path in a square of ten units; the same shapes as in the style sheet."""

from ppacer.engine import TaskStatus

DISC = "M10 5A5 5 0 1 1 0 5A5 5 0 1 1 10 5Z"
SHAPES: dict[str, str] = {
    TaskStatus.SUCCESS: DISC,
    TaskStatus.FAILED: "M2 0L5 3L8 0L10 2L7 5L10 8L8 10L5 7L2 10L0 8L3 5L0 2Z",
    TaskStatus.RUNNING: "M.8 0L10 5L.8 10Z",
    TaskStatus.SCHEDULED: "M9.4 5A4.4 4.4 0 1 1 .6 5A4.4 4.4 0 1 1 9.4 5Z",
    TaskStatus.FAILED_PENDING_RETRY: "M5 0L10 5L5 10L0 5Z",
    TaskStatus.UPSTREAM_FAILED: "M5 .4L10 9.6L0 9.6Z",
    TaskStatus.CANCELLED: "M0 0H10V10H0Z",
    TaskStatus.SKIPPED: "M0 3.8H10V6.2H0Z",
    TaskStatus.NO_STATUS: "M7.2 5A2.2 2.2 0 1 1 2.8 5A2.2 2.2 0 1 1 7.2 5Z",
}


def shape(state: str) -> str:
    """The path of a state; a disc for what has none of its own."""
    return SHAPES.get(state, DISC)
