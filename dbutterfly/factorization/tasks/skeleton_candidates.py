"""Candidates of a step of nested skeletons: the skeletons of finer groups, put together, or the lines of leaves."""

from __future__ import annotations

import numpy as np

from ...planning.nested_steps import NestedSteps, Step
from ...storage.workspace import Selection, Workspace
from ...structure.axes import Index
from ..skeleton_numbers import SKELETON

__all__ = ["read_candidates"]


def read_candidates(workspace: Workspace, steps: NestedSteps, name: str, owners: slice, fellows: slice) -> Index:
    """Candidates of some groups of a step, by their standard positions, -1 for none.

    Parameters
    ----------
    workspace : Workspace
        Where skeletons are.
    steps : NestedSteps
        All steps.
    name : str
        Name of the step.
    owners, fellows : slice
        Groups.

    Returns
    -------
    array of int64, shape (owners, fellows, candidates)
        The order is that of the rows, or columns, of a block of the factor.
    """
    step = steps.named(name)
    before = steps.before(step)
    if before is None:
        return _leaf_candidates(step, owners, fellows)
    read = _read_rows if step.side == "rows" else _read_cols
    return read(workspace, step, before, owners, fellows)


def _leaf_candidates(step: Step, owners: slice, fellows: slice) -> Index:
    """Candidates of leaves: all of their lines, by their standard positions."""
    a, d = np.arange(owners.start, owners.stop), np.arange(fellows.start, fellows.stop)
    digits = np.arange(step.radix)
    shape = (a.size, d.size, step.radix)
    if step.side == "rows":
        return np.broadcast_to((digits * step.fellows + d[:, None])[None], shape)
    return np.broadcast_to((a[:, None] * step.radix + digits)[:, None], shape)


def _read_rows(workspace: Workspace, step: Step, before: Step, owners: slice, fellows: slice) -> Index:
    """Row skeletons of finer row groups, which meet unions of column groups: (owners, fellows, candidates)."""
    first, last = owners.start // before.digits, -(-owners.stop // before.digits)
    parts = []
    for digit in range(step.radix):
        there = slice(digit * step.fellows + fellows.start, digit * step.fellows + fellows.stop)
        read = _read_skeletons(workspace, before, (slice(first, last), slice(0, before.digits), there))
        flat = read.reshape(-1, *read.shape[2:])
        parts.append(flat[owners.start - first * before.digits : owners.stop - first * before.digits])
    stacked = np.stack(parts, axis=-1)
    return stacked.reshape(*stacked.shape[:2], -1)


def _read_cols(workspace: Workspace, step: Step, before: Step, owners: slice, fellows: slice) -> Index:
    """Column skeletons of finer column groups, which meet unions of row groups: (owners, fellows, candidates)."""
    wide, parts = slice(owners.start * step.radix, owners.stop * step.radix), []
    for digit in range(fellows.start // before.fellows, -(-fellows.stop // before.fellows)):
        start = digit * before.fellows
        there = slice(max(fellows.start - start, 0), min(fellows.stop - start, before.fellows))
        parts.append(_read_skeletons(workspace, before, (wide, slice(digit, digit + 1), there))[:, 0])
    flat = np.concatenate(parts, axis=1)
    count, keep = owners.stop - owners.start, flat.shape[2]
    return flat.reshape(count, step.radix, -1, keep).transpose(0, 2, 1, 3).reshape(count, -1, step.radix * keep)


def _read_skeletons(workspace: Workspace, step: Step, selection: Selection) -> Index:
    found: Index = workspace.read(f"skeletons/{step.name}", selection)[..., SKELETON:].astype(np.int64)
    return found
