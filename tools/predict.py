"""segkit predict as a script; see --help."""

import sys

from segkit.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
