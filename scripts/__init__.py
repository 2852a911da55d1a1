"""The scripts that make runs."""

import signal
import sys

# `python -m` imports this package first, with "-m" as the name of the program. Until these two handle signals, Ctrl-C
# ends them at once: nothing has started, and a traceback of the imports would say nothing.
if sys.argv[0] == "-m" and {"scripts.setup", "scripts.start"} & set(sys.orig_argv):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
