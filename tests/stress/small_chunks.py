"""The command line, with chunks of two tasks: a program to be started in one process or several."""

import sys

from metarobot.cli.main import main
from metarobot.learning import task_chunks

if __name__ == "__main__":
    task_chunks.STEPS_AT_ONCE = task_chunks.STEPS_KEPT = 1
    sys.exit(main())
