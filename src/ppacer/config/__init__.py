"""Options of a program, and the secrets that it hides."""

from ppacer.config.mask import Mask, make_mask, masked
from ppacer.config.settings import WILDCARDS, Settings, is_loopback, load, logs_beside, shown

__all__ = [
    "WILDCARDS",
    "Mask",
    "Settings",
    "is_loopback",
    "load",
    "logs_beside",
    "make_mask",
    "masked",
    "shown",
]
