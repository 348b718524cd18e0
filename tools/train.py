"""segkit train as a script; see --help."""

import sys

from segkit.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
