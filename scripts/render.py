"""Film one task before and after adaptation: the same as ``metarobot render``."""

import sys

from metarobot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["render", *sys.argv[1:]]))
