"""Matrices that are given by their entries: a function of row and column indices, evaluated block by block.

Nothing of shape ``(M, N)`` is ever held unless it is asked for: a tile of the matrix is one call of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import DButterflyError, InputError, SourceError
from ..structure.arguments import as_integer, read_flag, read_shape, show_value
from ..structure.plain_arrays import as_plain_array, is_masked
from .returned_blocks import check_block

__all__ = ["Entries", "EntryFunction", "Index", "check_dtype", "entries"]

EntryFunction: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike]
"""``f(rows, cols)`` with 1-D int64 index arrays, returning the block of shape ``(len(rows), len(cols))``."""

Index: TypeAlias = "slice | Sequence[int] | NDArray[np.integer[Any]]"
"""Rows or columns of a block: a slice or a 1-D array of integers."""

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float64", "complex64", "complex128"))

BATCH_ENTRIES = 1 << 20
"""Entries evaluated at once when the whole matrix is asked for.

Not tuned: enough to keep the function busy, and little beside the result.
"""


CROSSES = "crosses"
"""Name of the way in which some columns and rows of each block are evaluated."""


class Entries:
    """A matrix given by its entry function, never stored.

    Parameters
    ----------
    f : callable
        ``f(rows, cols)`` takes two 1-D int64 index arrays and returns the block at their crossings, of shape
        ``(len(rows), len(cols))`` and of a dtype that casts safely or within its kind to ``dtype``. It may be called
        in any order, on any block, from several threads, and must give an entry the same value each time; on worker
        processes it must also be picklable (a function defined at the top level of a module, not a lambda).
    shape : (int, int)
        Rows M and columns N.
    dtype : dtype
        float32, float64, complex64 or complex128.
    sampled : bool or "crosses"
        Whether a factorization may evaluate some of the entries only. True takes nested skeletons: some ``r^2 N log N``
        entries at rank ``r`` in place of ``N^2``. With ``"crosses"``, it is a few columns and rows of every block,
        some ``8 r N^1.5`` entries, which are more but average out noise. The error is an estimate in both cases, from
        rows drawn at random. What no evaluated entry shows stays unknown: leave it False for matrices with isolated
        entries that differ from all about them. Where samples would be no fewer entries than there are, all are
        evaluated, and the error is proven.

    Attributes
    ----------
    f : callable
        The entry function.
    shape : tuple of int
        Rows M and columns N.
    dtype : numpy.dtype
        Type of the entries.
    sampled : bool
        Whether a factorization may evaluate some of the entries only.
    crossed : bool
        Whether these are columns and rows of each block.

    Raises
    ------
    InputError
        If ``f`` is not callable, ``shape`` is not two positive integers, ``dtype`` is none of the four, or ``sampled``
        is neither a boolean nor ``"crosses"``.

    Notes
    -----
    ``Z[rows, cols]`` takes an integer, a slice or a 1-D array of integers for each side. Integers drop their side as
    in NumPy; two index arrays select the block at their crossings (NumPy's ``Z[numpy.ix_(rows, cols)]``), not pairs
    of entries. ``numpy.asarray(Z)`` evaluates the whole matrix.

    Examples
    --------
    >>> import numpy as np
    >>> hilbert = Entries(lambda i, j: 1.0 / (i[:, None] + j + 1), (1 << 20, 1 << 20), np.float64)
    >>> hilbert[:2, [0, 3]]
    array([[1.  , 0.25],
           [0.5 , 0.2 ]])
    """

    ndim = 2

    def __init__(
        self, f: EntryFunction, shape: tuple[int, int], dtype: DTypeLike, *, sampled: bool | str = False
    ) -> None:
        if not callable(f):
            raise InputError(
                f"f={show_value(f)} is not callable; it must be a function f(rows, cols) that returns a block"
            )
        self.f = f
        self.shape = read_shape("shape", shape)
        self.dtype = check_dtype(dtype)
        self.crossed = isinstance(sampled, str) and sampled == CROSSES
        self.sampled = self.crossed or _read_sampled(sampled)

    def __repr__(self) -> str:
        sampled = (f", sampled={CROSSES!r}" if self.crossed else ", sampled=True") if self.sampled else ""
        return f"{type(self).__name__}({show_value(self.f)}, shape={self.shape}, dtype={self.dtype}{sampled})"

    def block(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate the block at the crossings of ``rows`` and ``cols``.

        Parameters
        ----------
        rows, cols : slice or 1-D array of int
            Indices into the two sides; negative ones count from the end.

        Returns
        -------
        ndarray of ``dtype``, shape (number of rows, number of columns)
            The entries.

        Raises
        ------
        InputError
            If an index is not an integer or out of range.
        SourceError
            If the function fails, or returns another shape or a dtype that does not cast to ``dtype``.
        """
        row_index, col_index = _indices(rows, self.shape[0], "rows"), _indices(cols, self.shape[1], "cols")
        wanted = (row_index.size, col_index.size)
        if 0 in wanted:
            return np.empty(wanted, self.dtype)
        request = f"rows {row_index.min()}..{row_index.max()}, cols {col_index.min()}..{col_index.max()}"
        try:
            given = self.f(row_index, col_index)
            block = given if is_masked(given) else np.asanyarray(given)
        except DButterflyError:
            raise
        except Exception as error:
            raise SourceError(
                f"the entry function failed at {request}: {type(error).__name__}: {error}; it must take any two 1-D "
                "int64 index arrays"
            ) from error

        def explain(what: str, why: str) -> SourceError:
            rule = ", one row for each row index and one column for each column index" if "shape" in what else ""
            return SourceError(f"the entry function returned {what} at {request}{why}{rule}")

        return check_block(block, wanted, self.dtype, explain)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, tuple) or len(key) != 2:
            raise InputError(f"Z[{show_value(key)}]: give both a row and a column index, such as Z[0:8, :]")
        sides: list[Any] = [[as_integer(side)] if _is_integer(side) else side for side in key]
        return self.block(*sides)[tuple(0 if _is_integer(side) else slice(None) for side in key)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise InputError("copy=False: the matrix is not stored, so an array of it is always new; leave copy out")
        out = np.empty(self.shape, self.dtype if dtype is None else dtype)
        step = max(BATCH_ENTRIES // self.shape[1], 1)
        for start in range(0, self.shape[0], step):
            out[start : start + step] = self.block(slice(start, start + step), slice(None))
        return out


entries = Entries
"""Name of :class:`Entries` in the public interface: ``dbutterfly.entries(f, shape, dtype)``."""


def _read_sampled(sampled: Any) -> bool:
    if isinstance(sampled, str):
        raise InputError(f'sampled={show_value(sampled)} is neither True nor False, nor "{CROSSES}"')
    return read_flag("sampled", sampled)


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` in native byte order if it is one of the four that are supported.

    Parameters
    ----------
    dtype : dtype
        float32, float64, complex64 or complex128.

    Raises
    ------
    InputError
        If it is any other.
    """
    try:
        checked = np.dtype(dtype)
    except Exception:  # TypeError mostly, but an object may do anything when it is asked for its dtype
        checked = None
    if dtype is None or checked is None or checked.newbyteorder("=") not in _DTYPES:
        shown = show_value(dtype) if dtype is None or checked is None else checked
        raise InputError(
            f"dtype={shown} is not supported; use float32, float64, complex64 or complex128 "
            "(convert other arrays with .astype)"
        )
    return checked.newbyteorder("=")


def _is_integer(side: Any) -> bool:
    return as_integer(side) is not None


def _indices(selection: Any, size: int, name: str) -> NDArray[np.int64]:
    """Indices from 0 to size - 1 of a slice or an index array, whose negative ones count from the end."""
    if isinstance(selection, slice):
        return np.arange(*selection.indices(size), dtype=np.int64)
    index = as_plain_array(selection, name)
    if index.ndim == 1 and index.size == 0:
        return np.empty(0, np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise InputError(
            f"{name} has dtype {index.dtype} and {index.ndim} dimensions; use a slice or a 1-D array of integers"
        )
    if index.min() < -size or index.max() >= size:
        raise InputError(f"{name} spans {index.min()}..{index.max()}; the matrix has indices 0..{size - 1}")
    index = index.astype(np.int64)
    return np.where(index < 0, index + size, index)
