"""`python -m wagle`: the command line without its entry point, as in an unpacked archive."""

import sys

from wagle.cli.main import main

sys.exit(main())
