"""``python -m ops.cli`` is ``easel``."""

from __future__ import annotations

import sys

from ops.cli import main

sys.exit(main())
