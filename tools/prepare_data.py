"""segkit prepare as a script; see --help."""

import sys

from segkit.cli.prepare import main

if __name__ == "__main__":
    sys.exit(main())
