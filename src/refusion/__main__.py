"""`python -m refusion`."""

import sys

from refusion.cli import main

sys.exit(main())
