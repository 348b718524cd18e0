"""segkit analyze as a script; see --help."""

import sys

from segkit.cli.analyze import main

if __name__ == "__main__":
    sys.exit(main())
