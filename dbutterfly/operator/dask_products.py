"""Products with a Dask array, chunk by chunk of its columns; the array is never gathered."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
from numpy.typing import NDArray

__all__ = ["is_dask_array", "multiply_chunks"]


def is_dask_array(x: Any) -> bool:
    """Whether ``x`` is a Dask array, told by its attributes, so that ``dask.array`` is not imported for it."""
    return hasattr(x, "dask") and hasattr(x, "map_blocks")


def multiply_chunks(operator: Any, x: Any) -> Any:
    """Multiply a Dask array of one or two dimensions.

    Parameters
    ----------
    operator : ButterflyOperator
        Sent to the workers once, as one task of the graph.
    x : dask.array.Array, shape (n,) or (n, k)
        Chunks of the rows are merged, since every product needs whole columns; chunks of the columns stay.

    Returns
    -------
    dask.array.Array, shape (m,) or (m, k)
        Nothing is computed yet.
    """
    whole = x.rechunk({0: -1})
    rows = operator.shape[0]
    chunks = ((rows,), *whole.chunks[1:])
    dtype = np.result_type(operator.dtype, x.dtype)
    sent = dask.delayed(operator, pure=True, traverse=False)
    return whole.map_blocks(_multiply, sent, dtype=dtype, chunks=chunks, meta=np.empty((0,) * x.ndim, dtype))


def _multiply(block: NDArray[Any], operator: Any) -> NDArray[Any]:
    product: NDArray[Any] = operator @ block
    return product
