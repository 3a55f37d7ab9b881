"""The blocks of a hierarchical form by kind, as plain values and as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...planning.sizes import format_bytes

if TYPE_CHECKING:
    from .hierarchical import HierarchicalFactorization

__all__ = ["KINDS", "describe_kinds", "format_kinds"]

KINDS = ("dense", "low rank", "butterfly", "zero")
"""Kinds of blocks, in the order of tables."""


def describe_kinds(found: HierarchicalFactorization) -> dict[str, dict[str, Any]]:
    """What the blocks of each kind are; see :meth:`dbutterfly.HierarchicalFactorization.summary`."""
    described = {}
    for kind in KINDS:
        blocks = [block for block in found.blocks if block.kind == kind]
        if not blocks:
            continue
        twice = [2 if found.symmetry != "none" and block.rows != block.cols else 1 for block in blocks]
        area = sum(times * block.shape[0] * block.shape[1] for times, block in zip(twice, blocks, strict=True))
        ranks = sorted(block.rank for block in blocks)
        described[kind] = {
            "blocks": len(blocks),
            "entries": area / (found.shape[0] * found.shape[1]),
            "values": sum(block.nnz for block in blocks),
            "ranks": [ranks[0], float(np.median(ranks)), ranks[-1]],
        }
    return described


def format_kinds(found: HierarchicalFactorization) -> list[str]:
    """Show a line for the matrix, and one for the blocks of each kind."""
    rows, cols = found.shape
    symmetry = "" if found.symmetry == "none" else f", {found.symmetry}"
    size = f"{format_bytes(found.nbytes)}, {found.compression:.1f} times smaller"
    lines = [f"{rows} x {cols} {found.dtype.name}{symmetry}: {len(found.blocks)} blocks, {size}"]
    lines.append("kind        blocks  entries      memory  ranks")
    for kind, one in describe_kinds(found).items():
        least, median, most = one["ranks"]
        ranks = f"{least} to {most}, median {median:g}" if kind in ("low rank", "butterfly") else ""
        memory = format_bytes(one["values"] * found.dtype.itemsize)
        lines.append(f"{kind:<10} {one['blocks']:7}  {100 * one['entries']:5.1f} %  {memory:>10}  {ranks}".rstrip())
    return lines
