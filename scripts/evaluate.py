"""Measure adaptation on held-out tasks: the same as ``metarobot evaluate``."""

import sys

from metarobot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
