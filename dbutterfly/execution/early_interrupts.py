"""Ctrl-C while the modules of the program ``dbutterfly`` are imported, which takes seconds: an end without a traceback.

This module is imported first. Other programs that import the package keep what they have.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import PurePath

__all__ = ["end_program"]


def end_program(_number: int, _frame: object) -> None:
    """Handle Ctrl-C: nothing has begun yet, so that nothing is to be put in order."""
    os.write(2, b"error: interrupted\n")
    os._exit(1)


def _is_program() -> bool:
    """Whether this process was started as the program, and not, say, as a worker of one."""
    return PurePath(*sys.orig_argv[1:2]).stem == "dbutterfly" or sys.orig_argv[1:3] == ["-m", "dbutterfly"]


if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_program)
