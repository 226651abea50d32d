"""`python -m connet_trio client|server|control|relay|check|version`."""

import sys

from connet_trio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
