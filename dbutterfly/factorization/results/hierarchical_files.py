"""Results in the hierarchical form in stores: the arrays of a result, and the result from them.

/blocks/table             (n, 7)  first row, last row + 1, the same of columns, factors, and kind of each ordering
/blocks/patterns          (f, 4)  pattern (a, b, c, d) of each factor, block by block
/blocks/values            (nnz,)  values of all factors, in the order of :mod:`dbutterfly.operator.block_values`
/blocks/errors            (n, 4)  energy, squared error, squared lower bound and deviation of each block
/blocks/indices           (k,)    index arrays of butterflies, block by block, rows before columns
/blocks/orders/rows, cols         row and column at each position, where they do not stay as they are
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreError
from ...operator.block_checks import check_blocks, check_order
from ...operator.block_factors import BlockFactors
from ...operator.block_values import arrange_blocks, view_blocks
from ...sources.places_read import places_read
from ...storage.manifest import HIERARCHICAL, Manifest
from ...storage.run_store import RunStore
from ...storage.saving import save_arrays
from ...structure.chain import Chain
from ...structure.orderings import BITREVERSAL, Orderings
from ..manifests import running_version
from .certificate import Certificate
from .hierarchical import HierarchicalFactorization

__all__ = ["arrays_of_result", "load_hierarchical", "result_entry", "save_hierarchical"]

STANDARD, REVERSED, LISTED = 0, 1, 2
"""Kinds of the ordering of one side of a butterfly."""

PLACE = "blocks"


def arrays_of_result(result: HierarchicalFactorization) -> dict[str, NDArray[Any]]:
    """Arrays of a result, by their names in a store."""
    values, _ = arrange_blocks(result.blocks, result.dtype)
    sides = [_sides(block) for block in result.blocks]
    table = [
        [*block.rows, *block.cols, len(block.ks_values), *map(_kind_of, own)]
        for block, own in zip(result.blocks, sides, strict=True)
    ]
    patterns = [factor.shape for block in result.blocks for factor in block.ks_values]
    listed = [side for own in sides for side in own if isinstance(side, np.ndarray)]
    arrays = {
        "table": np.array(table, np.int64),
        "patterns": np.array(patterns, np.int64),
        "values": values,
        "errors": np.asarray(result.table, np.float64),
        "indices": np.concatenate([np.zeros(0, np.int64), *listed]),
    }
    orders = {"orders/rows": result.row_order, "orders/cols": result.col_order}
    arrays |= {name: order for name, order in orders.items() if order is not None}
    return {f"{PLACE}/{name}": array for name, array in arrays.items() if array.size}


def _sides(block: BlockFactors) -> tuple[Any, Any]:
    """Orderings of a butterfly; of other blocks, they are the standard ones."""
    return (block.orderings.rows, block.orderings.cols) if block.kind == "butterfly" else (None, None)


def _kind_of(side: Any) -> int:
    return LISTED if isinstance(side, np.ndarray) else STANDARD if side is None else REVERSED


def result_entry(result: HierarchicalFactorization) -> dict[str, Any]:
    """What the manifest says of a result."""
    listed = sum(side.size for block in result.blocks for side in _sides(block) if isinstance(side, np.ndarray))
    orders = {"rows": result.row_order, "cols": result.col_order}
    return {
        "shape": list(result.shape),
        "dtype": result.dtype.name,
        "symmetry": result.symmetry,
        "orders": {name: None if order is None else "array" for name, order in orders.items()},
        "blocks": len(result.blocks),
        "factors": sum(len(block.ks_values) for block in result.blocks),
        "values": sum(block.nnz for block in result.blocks),
        "indices": listed,
    }


def save_hierarchical(result: HierarchicalFactorization, store: Any, *, overwrite: bool) -> None:
    """Write a result; see :meth:`dbutterfly.HierarchicalFactorization.save`."""
    entry = {"asked": {}, "result": result_entry(result)}
    arrays = arrays_of_result(result)
    save_arrays(
        store,
        Manifest(kind=HIERARCHICAL, version=running_version(), hierarchical=entry),
        arrays,
        sources=places_read(list(arrays.values())),
        overwrite=overwrite,
        certificate=result.certificate.to_json(),
        record=result.record,
    )


def load_hierarchical(run: RunStore) -> HierarchicalFactorization:
    """Result of a complete run for the hierarchical form.

    Raises
    ------
    CheckpointError
        If an array of it is missing or damaged.
    StoreError
        If the manifest is not that of such a result, or its arrays do not fit together.
    """
    run.check_has("hierarchical", "certificate", "record")
    manifest = run.manifest
    assert manifest.hierarchical is not None
    assert manifest.certificate is not None
    assert manifest.record is not None
    entry = manifest.hierarchical.get("result")
    if entry is None:
        raise StoreError(f"store={run.group.store_path}: its manifest has no result; restore it from a backup")
    shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
    orders = [
        None if entry["orders"].get(side) is None else _read(run, f"orders/{side}", (size,), "int64")
        for side, size in zip(("rows", "cols"), shape, strict=True)
    ]
    try:
        blocks = check_blocks(_load_blocks(run, entry), shape, dtype, is_half=entry["symmetry"] != "none")
        row_order, col_order = (check_order("order", order, n) for order, n in zip(orders, shape, strict=True))
    except (InputError, ValueError, IndexError) as error:
        raise StoreError(
            f"store={run.group.store_path}: its blocks are no matrix of its manifest ({error}); restore it "
            "from a backup"
        ) from error
    return HierarchicalFactorization(
        blocks,
        shape,
        dtype,
        row_order,
        col_order,
        entry["symmetry"],
        Certificate.from_json(manifest.certificate),
        _read(run, "errors", (entry["blocks"], 4), "float64"),
        manifest.record,
    )


def _load_blocks(run: RunStore, entry: dict[str, Any]) -> list[BlockFactors]:
    """Blocks of a result, whose factors are views of one array.

    Raises
    ------
    ValueError
        If the arrays do not fit together.
    """
    table = _read(run, "table", (entry["blocks"], 7), "int64").tolist()
    patterns = [tuple(each) for each in _read(run, "patterns", (entry["factors"], 4), "int64").tolist()]
    values = _read(run, "values", (entry["values"],), entry["dtype"])
    indices = _read(run, "indices", (entry["indices"],), "int64")
    if any(min(pattern) < 1 for pattern in patterns) or sum(map(math.prod, patterns)) != values.size:
        raise ValueError("the patterns are not those of the values")
    values = values if values.base is None else values.copy()  # an array of its own, for products without copies
    blocks: list[BlockFactors] = []
    own, start, taken = [], 0, 0
    for first, last, left, right, count, *kinds in table:
        own.append(tuple(patterns[start : start + count]))
        start += count
        chain = Chain(own[-1]) if count > 2 else None
        sides: list[Any] = []
        for kind, axis in zip(kinds, (0, 1), strict=True):
            size = chain.shape[axis] if chain is not None and kind == LISTED else 0
            sides.append(indices[taken : taken + size] if kind == LISTED else BITREVERSAL if kind == REVERSED else None)
            taken += size
        blocks.append(BlockFactors((first, last), (left, right), (), Orderings(*sides)))
    if start != len(patterns) or taken != indices.size:
        raise ValueError("the table is not that of the patterns")
    return view_blocks(values, blocks, own)


def _read(run: RunStore, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Read an array; one without entries is not stored."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    return run.read_array(f"{PLACE}/{name}", shape, dtype)
