"""Train the algorithms of a task family: the same as ``metarobot train``."""

import sys

from metarobot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
