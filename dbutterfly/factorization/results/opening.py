"""Results in stores: of one matrix, in either form, or of a stack."""

from __future__ import annotations

import os
from typing import Any

from ...operator.butterfly import ButterflyOperator
from ...operator.hierarchical import HierarchicalOperator
from ...operator.stacked import StackedOperator
from ...storage.manifest import HIERARCHICAL, STACK
from ...storage.places import is_store
from ...storage.run_store import RunStore
from .factorization import Factorization, load, open_complete_run, read_factorization
from .hierarchical import HierarchicalFactorization
from .hierarchical_files import load_hierarchical
from .stacked import StackedFactorization
from .stacked_files import load_stack

__all__ = ["load_operator", "open_result", "read_result"]


def read_result(name: str, value: Any) -> Factorization | HierarchicalFactorization | StackedFactorization:
    """Read a result, or open the one that is at a place.

    Raises
    ------
    InputError
        If it is neither.
    StoreError
        If the place holds none.
    """
    if isinstance(value, (HierarchicalFactorization, StackedFactorization)):
        return value
    if isinstance(value, (str, os.PathLike)) or is_store(value):
        return open_result(value)
    return read_factorization(name, value)


def load_operator(place: Any) -> ButterflyOperator | HierarchicalOperator | StackedOperator:
    """Operator that a run, a saved result or :meth:`dbutterfly.ButterflyOperator.save` left at a place.

    Raises
    ------
    InputError
        If an ``.npz`` file is missing or holds no operator, or the matrices of a stack have different shapes.
    StoreError
        If a store holds neither an operator nor a complete run, or is damaged.
    """
    is_file = isinstance(place, (str, os.PathLike)) and os.fspath(place).endswith(".npz")
    run = None if is_file else RunStore.open(place)
    if run is not None and run.is_complete and run.manifest.kind == HIERARCHICAL:
        return load_hierarchical(run).operator
    if run is not None and run.is_complete and run.manifest.kind == STACK:
        return load_stack(run).operator
    return ButterflyOperator.load(place)


def open_result(store: Any) -> Factorization | HierarchicalFactorization | StackedFactorization:
    """Open a factorization that a run or :meth:`Factorization.save` left in a store.

    Parameters
    ----------
    store : str, path, or Zarr store
        Where it is.

    Returns
    -------
    Factorization, HierarchicalFactorization or StackedFactorization
        With its factors in memory: in the form of the run, and for a stack where the run was for one.

    Raises
    ------
    StoreError
        If there is none, it is damaged, or its run has not ended yet.
    """
    run = open_complete_run(store)
    if run.manifest.kind == HIERARCHICAL:
        return load_hierarchical(run)
    return load_stack(run) if run.manifest.kind == STACK else load(run)
