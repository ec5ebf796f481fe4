"""`python -m workshop`: the same commands as the console script, where nothing was installed."""

import sys

from workshop.cli import main

if __name__ == "__main__":
    sys.exit(main())
