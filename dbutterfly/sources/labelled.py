"""Labelled arrays of xarray, which is not imported for them: the array that they hold, not loaded if it is not yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import SourceError
from .packing import MISSING, refuse_times

__all__ = ["is_labelled", "unlabelled"]

PACKED = (*MISSING, "scale_factor", "add_offset", "_Unsigned")
"""Attributes that xarray takes away when it decodes a variable."""


def is_labelled(source: Any) -> bool:
    """Whether something is a DataArray, Variable, Dataset or DataTree of xarray."""
    return _kind(source) is not None


def unlabelled(source: Any, *, decode: bool, ndim: int = 2) -> Any:
    """The array inside a labelled one: a Dask array if it is not in memory, so that tiles are read one by one.

    Parameters
    ----------
    source : DataArray, Variable, Dataset or DataTree
        One with a single two-dimensional variable, if it has variables.
    decode : bool
        Whether attributes that say that stored numbers are no entries are refused.
    ndim : int
        Dimensions that it must have.

    Raises
    ------
    SourceError
        If there is not one two-dimensional variable, or it has not been decoded; the message names the variables.
    """
    if _kind(source) in ("Dataset", "DataTree"):
        source = _only_matrix(source)
    sizes = dict(zip(source.dims, source.shape, strict=True))
    if len(sizes) != ndim:
        raise SourceError(
            f"source has {len(sizes)} dimensions, {sizes}; a matrix has two: take some apart, as in "
            "source.isel(time=0), or join some by source.stack"
        )
    if decode:
        _refuse_undecoded(source)
    if source.chunks is None and not getattr(getattr(source, "variable", source), "_in_memory", True):  # lazily opened
        source = source.chunk(source.encoding.get("preferred_chunks") or "auto")
    return source.data


def _kind(source: Any) -> str | None:
    """Name of the class of xarray that something is of."""
    for kind in type(source).__mro__:
        if kind.__module__.partition(".")[0] == "xarray" and kind.__name__ in (
            "DataArray",
            "Variable",
            "Dataset",
            "DataTree",
        ):
            return kind.__name__
    return None


def _only_matrix(source: Any) -> Any:
    """The one two-dimensional variable of a Dataset or a DataTree."""
    kind = _kind(source)
    nodes = [("", source)] if kind == "Dataset" else [(f"{node.path.strip('/')}/", node) for node in source.subtree]
    found = {f"{place}{name}".lstrip("/"): array for place, node in nodes for name, array in node.data_vars.items()}
    matrices = [name for name, array in found.items() if array.ndim == 2]
    if len(matrices) == 1:
        return found[matrices[0]]
    listed = ", ".join(f"{name} {found[name].dims}" for name in (matrices or list(found))[:8]) or "none"
    count = "several" if matrices else "no"
    example = f"; name one, as in source[{matrices[0]!r}]" if matrices else ""
    raise SourceError(f"source is a {kind} with {count} two-dimensional variables: {listed}{example}")


def _refuse_undecoded(source: Any) -> None:
    """Refuse numbers that were opened without being decoded."""
    refuse_times(source.attrs, np.dtype(source.dtype), f"variable {getattr(source, 'name', None)!r}")
    left = [name for name in PACKED if name in source.attrs]
    if left and np.dtype(source.dtype).kind in "biufc":
        raise SourceError(
            f"variable {getattr(source, 'name', None)!r} has the attribute {left[0]}={source.attrs[left[0]]!r}: it was "
            "opened without being decoded; pass xarray.decode_cf of its Dataset, or decode=False to take the numbers "
            "as they are"
        )
