"""`python -m aafast`: the same as the `aafast` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
