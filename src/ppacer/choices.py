"""The words that options may have: a module of its own, because the help of the command line names them."""

RUNNERS = ("process", "pool", "thread", "async")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
