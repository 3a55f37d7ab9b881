"""Packages that tests need, and that not every contributor has: without one, its tests are skipped with the remedy."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dbutterfly.errors import how_to_install

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import a module, or skip the test or the whole file.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        Extra that installs it.
    """
    before = signal.getsignal(signal.SIGINT)  # dask-jobqueue has a handler of its own, which ends the program
    try:
        return pytest.importorskip(module, reason=f"needs {module}: {how_to_install(extra)}")
    finally:
        signal.signal(signal.SIGINT, before)
