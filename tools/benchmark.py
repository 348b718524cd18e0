"""segkit benchmark as a script; see --help."""

import sys

from segkit.cli.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
