"""Options of a program, and the secrets that it hides."""

from ppacer.config.mask import Mask, make_mask, masked
from ppacer.config.settings import Settings, load

__all__ = ["Mask", "Settings", "load", "make_mask", "masked"]
