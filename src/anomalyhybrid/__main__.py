"""`python -m anomalyhybrid`: the command line, for launchers that start modules (torchrun)."""

import sys

from anomalyhybrid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
