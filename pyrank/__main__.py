"""`python -m pyrank` is the command `pyrank`."""

import sys

from pyrank.cli import main

sys.exit(main())
