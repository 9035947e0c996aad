"""``python -m metarobot``: the same as the command ``metarobot``."""

import sys

from metarobot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
