"""segkit convert as a script; see --help."""

import sys

from segkit.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
