"""Products of a matrix of factors, its transpose and its adjoint: prepared once, lazily, for all three.

A :class:`Products` holds the factors of one matrix. The first product lays them out for the kernels. That layout serves
the matrix, its transpose, its conjugate and its adjoint, so that derived operators store no values of their own.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..execution.arguments import read_workers
from ..kernels.backend import Array, namespace
from ..kernels.backend.blas import single_threaded_blas
from ..kernels.backend.cores import available_cores
from ..kernels.compilation import compile_now, count_seconds, is_compiled
from ..kernels.products import packed as plain
from ..kernels.products.choose import kernels_for
from ..kernels.products.ksmm import apply_chain
from ..structure.chain import Pattern
from ..structure.orderings import GAP
from ..structure.padding import fill_gaps
from .checks import Index, product_dtype
from .factors import transpose_factors

__all__ = ["Products", "check_workers"]

COLUMNS_PER_WORKER = 32
"""Least columns of a thread, so that columns are divided from 64 on.

The compiled kernels take 32 columns through all factors together (``COLUMNS`` in ``kernels/products/jit/sizes.py``).
Not tuned beyond that: no benchmark varies it.
"""


UNCOMPILED = "uncompiled"
"""Key of what the plain kernels multiply by while the compiled ones are not there."""


class Products:
    """Products of one matrix of factors.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Checked factors.
    rows, cols : ndarray of int64 or None
        Checked orderings: the product of the factors is ``Z[rows][:, cols]``, but for gaps, where they are -1.
    """

    def __init__(self, ks_values: Sequence[NDArray[Any]], rows: Index | None, cols: Index | None) -> None:
        self.ks_values, self.rows, self.cols = tuple(ks_values), rows, cols
        self._rows, self._cols = (None if index is None else fill_gaps(index) for index in (rows, cols))
        gaps = (0 if index is None else int(np.count_nonzero(index == GAP)) for index in (rows, cols))
        self._sizes = tuple(length - count for length, count in zip(self.shape, gaps, strict=True))
        self._has_gaps = self._sizes != self.shape
        self.dtype: np.dtype[Any] = np.result_type(*ks_values)
        # Kernels and factors by (namespace, device); None for NumPy, UNCOMPILED while the compiled ones are not there.
        self._packed: dict[Any, tuple[Any, Any]] = {}
        self._packing = threading.Lock()

    @property
    def nbytes_packed(self) -> int:
        """Bytes held besides the factors."""
        return sum(int(packed.nbytes) for _, packed in self._packed.values())

    def multiply(
        self,
        x: NDArray[Any],
        out: NDArray[Any] | None = None,
        *,
        transposed: bool = False,
        conjugated: bool = False,
        workers: int = 1,
    ) -> NDArray[Any]:
        """Multiply columns.

        Parameters
        ----------
        x : ndarray, shape (n, k)
            Columns, of any numeric dtype and layout.
        out : ndarray, shape (m, k), optional
            Where the products go. It may be ``x``, or overlap it.
        transposed, conjugated : bool
            Whether to multiply by the transpose, the conjugate or, with both, the adjoint.
        workers : int
            Threads, among which the columns are divided.

        Returns
        -------
        ndarray of dtype ``result_type(dtype, x)``, shape (m, k)
            ``out`` if it was given.

        Raises
        ------
        TypeError
            If ``out`` cannot hold the products, by NumPy's rule ``"same_kind"``.
        ValueError
            If ``out`` is read-only, or has another shape.
        """
        settings = {"transposed": transposed, "conjugated": conjugated}
        return (self._multiply_past_gaps if self._has_gaps else self._multiply)(x, out, workers, settings)

    def _multiply(
        self, x: NDArray[Any], out: NDArray[Any] | None, workers: int, settings: dict[str, bool]
    ) -> NDArray[Any]:
        """Multiply columns that have an entry for each position of the chain."""
        if (
            x.dtype is self.dtype and x.flags.c_contiguous and out is None and workers == 1
        ):  # the shortest way, for solvers
            return self._multiply_packed(x, None, settings)  # type: ignore[no-any-return]
        result = product_dtype(self.dtype, x.dtype, "x")
        if out is not None:
            np.copyto(out[:0], np.empty((0, out.shape[1]), result), casting="same_kind")  # raises before any work
        if result == self.dtype:
            x = np.ascontiguousarray(x, result)
            direct = out is not None and _is_plain(out, result) and not np.may_share_memory(x, out)
            product: NDArray[Any] = self._multiply_on_threads(x, out if direct else None, workers, settings)
        elif result == np.result_type(self.dtype, np.complex64):  # real factors: a complex column is two real ones
            pairs = np.ascontiguousarray(x, result).view(self.dtype)
            product, direct = self._multiply_on_threads(pairs, None, workers, settings).view(result), False
        else:  # of a higher precision than the factors
            product, direct = self._multiply_unpacked(x, **settings), False
        if out is None or direct:
            return product
        np.copyto(out, product, casting="same_kind")
        return out

    def _multiply_past_gaps(
        self, x: NDArray[Any], out: NDArray[Any] | None, workers: int, settings: dict[str, bool]
    ) -> NDArray[Any]:
        """Multiply columns with zeros at the gaps; the product has nothing there."""
        result = product_dtype(self.dtype, x.dtype, "x")
        if out is not None:
            np.copyto(out[:0], np.empty((0, out.shape[1]), result), casting="same_kind")  # raises before any work
        into, outof = (0, 1) if settings["transposed"] else (1, 0)
        longer = np.zeros((self.shape[into], x.shape[1]), x.dtype.newbyteorder("="))
        longer[: x.shape[0]] = x
        product = self._multiply(longer, None, workers, settings)[: self._sizes[outof]]
        if out is None:
            return product
        np.copyto(out, product, casting="same_kind")
        return out

    def multiply_on_device(self, x: Array, *, transposed: bool, conjugated: bool) -> Array:
        """Multiply columns of another namespace, such as CuPy's, by the plain kernels on their device."""
        xp = namespace(x)
        device = x.device
        kernels, packed = self._prepare((xp.__name__, str(device)), lambda: self._pack_on(xp, device))
        into, outof = (0, 1) if transposed else (1, 0)
        gaps = self.shape[into] - self._sizes[into]
        if gaps:
            x = xp.concat([x, xp.zeros((gaps, x.shape[1]), dtype=x.dtype, device=device)])
        product: Array = kernels.multiply(packed, x, transposed=transposed, conjugated=conjugated)
        return product[: self._sizes[outof], :]

    def _multiply_on_threads(
        self, x: NDArray[Any], out: NDArray[Any] | None, workers: int, settings: dict[str, bool]
    ) -> Any:
        """Multiply columns of the dtype of the factors, divided among threads."""
        workers = min(workers, x.shape[1] // COLUMNS_PER_WORKER)
        if workers < 2:
            return self._multiply_packed(x, out, settings)
        rows = self.shape[1] if settings["transposed"] else self.shape[0]
        product = np.empty((rows, x.shape[1]), x.dtype) if out is None else out
        edges = [x.shape[1] * k // workers for k in range(workers + 1)]

        def multiply_part(first: int, last: int) -> None:
            product[:, first:last] = self._multiply_packed(np.ascontiguousarray(x[:, first:last]), None, settings)

        with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
            list(pool.map(multiply_part, edges[:-1], edges[1:]))
        return product

    def _multiply_packed(self, x: NDArray[Any], out: NDArray[Any] | None, settings: dict[str, bool]) -> Any:
        """Multiply columns of the dtype of the factors, C-contiguous, by the kernels that are there."""
        found = self._packed.get(None) or self._prepare(None, self._pack)
        if found is not None:
            kernels, packed = found
            return kernels.multiply(packed, x, out, **settings)
        kernels, packed = self._packed.get(UNCOMPILED) or self._prepare(UNCOMPILED, self._pack_plain)
        started = time.perf_counter()
        product = kernels.multiply(packed, x, out, **settings)
        count_seconds(self._kernels, self.dtype, time.perf_counter() - started)
        return product

    def compile(self) -> None:
        """Have the kernels that suit, and the factors laid out for them, when this returns."""
        if self._kernels is not plain:
            compile_now(self.dtype.char, rooms=("products",))
        self._prepare(None, self._pack)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the product of the factors, gaps among them."""
        return Pattern(*self.ks_values[0].shape).shape[0], Pattern(*self.ks_values[-1].shape).shape[1]

    def _multiply_unpacked(self, x: NDArray[Any], transposed: bool, conjugated: bool) -> NDArray[Any]:
        """Multiply by the factors as they were given, each promoted to the dtype of ``x`` when its turn comes.

        The packed layout cannot serve here, though it multiplies any dtype: its factors are products of neighbours,
        rounded to their own precision. Measured with ten dyadic factors of random float32 numbers (N = 1024) and
        float64 columns: packed products differ from these by 5e-8, and these from those of float64 factors by 2e-16.
        """
        gather, scatter = (self._rows, self._cols) if transposed else (self._cols, self._rows)
        x = np.conj(x) if conjugated else x
        x = x if gather is None else np.take(x, gather, axis=0)
        y: NDArray[Any] = apply_chain(transpose_factors(self.ks_values) if transposed else self.ks_values, x)
        y = np.conj(y) if conjugated else y
        if scatter is None:
            return y
        product = np.empty_like(y)
        product[scatter] = y
        return product

    def _prepare(self, key: Any, make: Callable[[], tuple[Any, Any] | None]) -> Any:
        """Kernels and packed factors of a namespace and device, made by the first thread that asks for them."""
        with self._packing:
            if key not in self._packed and (made := make()) is not None:
                self._packed[key] = made
            return self._packed.get(key)

    @functools.cached_property
    def _kernels(self) -> Any:
        return kernels_for([Pattern(*values.shape) for values in self.ks_values], self.dtype)

    def _pack(self) -> tuple[Any, Any] | None:
        """Lay the factors out for the kernels that suit; None as long as these have to be compiled first."""
        if self._kernels is not plain and not is_compiled(self._kernels, self.dtype):
            return None
        self._packed.pop(UNCOMPILED, None)
        return self._kernels, self._kernels.pack(self.ks_values, self.dtype, self._rows, self._cols)

    def _pack_plain(self) -> tuple[Any, Any]:
        return plain, plain.pack(self.ks_values, self.dtype, self._rows, self._cols)

    def _pack_on(self, xp: Any, device: Any) -> tuple[Any, Any]:
        moved = [xp.asarray(np.ascontiguousarray(values), device=device) for values in self.ks_values]
        orders = [None if index is None else xp.asarray(index, device=device) for index in (self._rows, self._cols)]
        return plain, plain.pack(moved, getattr(xp, self.dtype.name), *orders)


def check_workers(workers: int) -> int:
    """Return the number of threads to use: at most as many as there are cores for this process.

    Raises
    ------
    InputError
        If ``workers`` is not a positive integer.
    """
    return min(read_workers("workers", workers, remedy="1 is the default"), available_cores())


def _is_plain(out: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether kernels can write into ``out`` themselves, without a copy."""
    return out.dtype == dtype and out.flags.c_contiguous and out.flags.writeable and out.dtype.isnative
