"""Results in stores, of one matrix or of a stack."""

from __future__ import annotations

from typing import Any

from ...storage.manifest import STACK
from .factorization import Factorization, load, open_complete_run
from .stacked import StackedFactorization
from .stacked_files import load_stack

__all__ = ["open_result"]


def open_result(store: Any) -> Factorization | StackedFactorization:
    """Open a factorization that a run or :meth:`Factorization.save` left in a store.

    Parameters
    ----------
    store : str, path, or Zarr store
        Where it is.

    Returns
    -------
    Factorization or StackedFactorization
        With its factors in memory; that of a stack where the run was for one.

    Raises
    ------
    StoreError
        If there is none, it is damaged, or its run has not ended yet.
    """
    run = open_complete_run(store)
    return load_stack(run) if run.manifest.kind == STACK else load(run)
