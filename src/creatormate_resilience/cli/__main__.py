"""`python -m creatormate_resilience.cli`."""

from __future__ import annotations

import sys

from creatormate_resilience.cli import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
