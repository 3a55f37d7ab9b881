"""Operators in files: one ``.npz``, or a Zarr group, local or in object storage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, StoreError
from ..sources.places_read import places_read
from ..storage import saving
from ..storage.files import FileKind, check_file, write_whole
from ..storage.local_paths import local_path
from ..storage.manifest import FORMAT, HIERARCHICAL, OPERATOR, STACK, Manifest, index_arrays, name_sides
from ..storage.run_store import RunStore
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.padding import show_gaps
from .npz_files import UnreadableError, read_arrays

__all__ = ["load_factors", "orderings_of", "save_factors"]


NPZ = FileKind("an .npz file", lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06")))


def save_factors(
    place: Any, ks_values: Sequence[NDArray[Any]], chain: Chain, orderings: Orderings, *, overwrite: bool = False
) -> None:
    """Write factors and orderings; see :meth:`dbutterfly.ButterflyOperator.save`."""
    sides, sources = orderings.sides, places_read(ks_values)
    if not _is_npz(place):
        patterns = [list(pattern) for pattern in chain]
        manifest = Manifest(kind=OPERATOR, chain=patterns, orderings=name_sides(sides))
        saving.save_factors(place, manifest, ks_values, sides, sources=sources, overwrite=overwrite)
        return
    path = check_file(place, NPZ, sources=sources, overwrite=overwrite)
    arrays, named = index_arrays(sides), {name: np.array(side) for name, side in sides.items() if isinstance(side, str)}
    factors = {f"factor_{index}": values for index, values in enumerate(ks_values)}
    contents = {"format": np.array(FORMAT), **factors, **arrays, **named}
    try:
        write_whole(path, lambda file: np.savez(file, allow_pickle=False, **contents))
    except OSError as error:
        raise InputError(f"place={os.fspath(place)!r} cannot be written: {error}") from error


def load_factors(place: Any) -> tuple[list[NDArray[Any]], Orderings]:
    """Read factors and orderings; see :meth:`dbutterfly.ButterflyOperator.load`."""
    if _is_npz(place):
        return _load_npz(local_path(place))
    run = RunStore.open(place)
    if run is None:
        raise StoreError(f"place={place!r} holds no dbutterfly factorization or operator")
    if not run.is_complete:
        raise StoreError(f"place={place!r} holds a run that has not ended; call factorize as before to resume it")
    if run.manifest.kind == STACK:
        raise StoreError(
            f"place={place!r} holds a stack of matrices; dbutterfly.open(place)[k].operator is that of one of them"
        )
    if run.manifest.kind == HIERARCHICAL:
        raise StoreError(
            f"place={place!r} holds blocks of the hierarchical form; dbutterfly.open(place).operator multiplies by them"
        )
    return run.factors(), orderings_of(run)


def orderings_of(run: RunStore) -> Orderings:
    """Orderings of the factors that a store holds, with the gaps of a matrix that is smaller than their chain.

    Raises
    ------
    CheckpointError
        If an index array is missing or damaged.
    """
    orderings, matrix = Orderings(**run.sides()), run.manifest.matrix
    return orderings if matrix is None else show_gaps(orderings, tuple(matrix["shape"]), Chain(run.manifest.chain))


def _load_npz(path: str) -> tuple[list[NDArray[Any]], Orderings]:
    try:
        arrays = read_arrays(path)
    except UnreadableError as error:
        raise InputError(f"place={path!r} is no readable .npz file of numbers: {error}") from error
    if "format" not in arrays or "factor_0" not in arrays:
        raise InputError(f"place={path!r} holds no dbutterfly operator; it has {', '.join(arrays) or 'no arrays'}")
    version = arrays["format"]
    if version.shape != () or version.dtype.kind not in "iu" or int(version) != FORMAT:
        raise InputError(f"place={path!r} has format {version.tolist()!r:.40}; this version reads format {FORMAT}")
    count = sum(name.startswith("factor_") for name in arrays)
    lacking = [f"factor_{index}" for index in range(count) if f"factor_{index}" not in arrays]
    if lacking:
        raise InputError(f"place={path!r} lacks {', '.join(lacking[:3])}; save the operator anew")
    sides = {name: arrays.get(name) for name in ("rows", "cols")}
    named = {name: str(side) if side is not None and side.dtype.kind == "U" else side for name, side in sides.items()}
    return [arrays[f"factor_{index}"] for index in range(count)], Orderings(**named)


def _is_npz(place: Any) -> bool:
    return isinstance(place, (str, os.PathLike)) and os.fspath(place).endswith(".npz")
