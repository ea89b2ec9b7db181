"""The version of the software, alone in a module so that reading it costs nothing."""

VERSION = "0.1.0"
