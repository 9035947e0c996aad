"""The command line, with chunks of two tasks: a program to be started in one process or several."""

import sys

from metarobot.cli.main import main
from metarobot.learning import chunks, meta_update

if __name__ == "__main__":
    chunks.STEPS_AT_ONCE = meta_update.STEPS_KEPT = 1
    sys.exit(main())
