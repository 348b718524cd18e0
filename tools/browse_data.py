"""segkit browse as a script; see --help."""

import sys

from segkit.cli.browse import main

if __name__ == "__main__":
    sys.exit(main())
