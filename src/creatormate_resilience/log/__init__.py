"""Logging: this library's own lines, silent by default, and a setup for applications that prints no secrets."""

from __future__ import annotations

from creatormate_resilience.log._logger import get_logger, is_heard, write_line
from creatormate_resilience.log._setup import LoggingSetup, configure_logging
from creatormate_resilience.log._traceback import frames, traceback_text

__all__ = ("LoggingSetup", "configure_logging", "frames", "get_logger", "is_heard", "traceback_text", "write_line")
