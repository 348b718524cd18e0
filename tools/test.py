"""segkit test as a script; see --help."""

import sys

from segkit.cli.test import main

if __name__ == "__main__":
    sys.exit(main())
