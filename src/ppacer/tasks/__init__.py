"""Ready-made tasks."""

from ppacer.tasks.bash import Bash, BashError
from ppacer.tasks.simple import Empty, PrintTask

__all__ = ["Bash", "BashError", "Empty", "PrintTask"]
