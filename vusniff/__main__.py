"""``python -m vusniff``."""

import sys

from vusniff.cli import main

sys.exit(main())
