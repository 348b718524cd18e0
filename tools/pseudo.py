"""segkit pseudo as a script; see --help."""

import sys

from segkit.cli.pseudo import main

if __name__ == "__main__":
    sys.exit(main())
