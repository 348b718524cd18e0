"""segkit config as a script; see --help."""

import sys

from segkit.cli.config import main

if __name__ == "__main__":
    sys.exit(main())
