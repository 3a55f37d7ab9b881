"""The page of a result in the hierarchical form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ....planning.sizes import format_bytes
from ....structure.drawings import to_html
from ..block_pictures import block_maps
from ..hierarchical_text import describe_kinds
from .page import facts_of, render

if TYPE_CHECKING:
    from ..hierarchical import HierarchicalFactorization

__all__ = ["block_page"]


def block_page(found: HierarchicalFactorization) -> str:
    """HTML page of a result in the hierarchical form, complete in itself."""
    maps = [
        {"title": each.title, "note": each.note, "drawing": to_html(each.drawing), "legend": to_html(each.legend)}
        for each in block_maps(found)
    ]
    facts = facts_of(found, f"in {len(found.blocks)} blocks", None) | {
        "form": "Hierarchical factorization",
        "blocks": maps,
        "kinds": _kinds(found),
    }
    return render(facts)


def _kinds(found: HierarchicalFactorization) -> list[dict[str, Any]]:
    """Rows of the table of kinds."""
    kinds, errors = np.array([block.kind for block in found.blocks]), found.errors
    twice = np.array([2 if found.symmetry != "none" and b.rows != b.cols else 1 for b in found.blocks])
    rows = []
    for kind, one in describe_kinds(found).items():
        least, median, most = one["ranks"]
        is_low = kind in ("low rank", "butterfly")
        error = float(np.sqrt(np.sum((twice * errors**2)[kinds == kind])))
        rows.append(
            {
                "name": kind,
                "blocks": one["blocks"],
                "entries": f"{100 * one['entries']:.1f} %",
                "memory": format_bytes(one["values"] * found.dtype.itemsize),
                "ranks": f"{least} to {most}, median {median:g}" if is_low else "–",
                "error": f"{error:.3g}",
            }
        )
    return rows
