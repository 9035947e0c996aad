"""Ctrl-C while a command is still importing: it ends at once and in silence, as by SIGTERM.

Importing this file sees to it.  A program that imports the package keeps its own handling of
Ctrl-C, and so do the processes of torchrun.
"""

import os
import signal
import sys
from pathlib import Path


def _end_in_silence() -> None:
    """Let Ctrl-C end the process until `metarobot.cli.main` handles it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_command() -> bool:
    """Whether this process runs a command of the package."""
    # Python calls the program "-m" until it has found the module, which it does by importing us.
    program = sys.argv[0] if sys.argv else ""
    is_named = program == "-m" or Path(program).stem == "metarobot"
    return is_named and "TORCHELASTIC_RUN_ID" not in os.environ


if _is_command():
    _end_in_silence()
