"""A warm parent in a fresh interpreter, started by `WarmParent.spawn`; the argument is its socket."""

import socket
import sys

from ppacer.dag import Registry
from ppacer.executor.parent import Parent
from ppacer.notify import LogSender

main = socket.socket(fileno=int(sys.argv[1]))
main.set_inheritable(False)
Parent(main, Registry(), LogSender()).run()
