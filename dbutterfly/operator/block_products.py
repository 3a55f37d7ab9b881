"""Products of a hierarchical matrix, its transpose and its adjoint: laid out once, lazily, for all of them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.backend import Array, namespace
from ..kernels.backend.blas import single_threaded_blas
from .block_factors import BlockFactors
from .block_layout import BlockLayout, ButterflyBlock, Panel, lay_out
from .block_panels import Run, multiply_panels, run_in_turn
from .checks import Index, product_dtype

__all__ = ["BlockProducts"]


class BlockProducts:
    """Products of one hierarchical matrix.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        Checked blocks.
    shape : (int, int)
        Rows and columns.
    dtype : dtype
        Common dtype.
    row_order, col_order : ndarray of int64 or None
        Row, and column, at each position.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether the blocks below the diagonal stand for those above it.
    """

    def __init__(
        self,
        blocks: Sequence[BlockFactors],
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        row_order: Index | None,
        col_order: Index | None,
        symmetry: str,
    ) -> None:
        self.blocks, self.shape, self.dtype = tuple(blocks), shape, dtype
        self.row_order, self.col_order, self.symmetry = row_order, col_order, symmetry
        self._places: dict[Any, _Place] = {}  # by namespace and device; None for NumPy
        self._laying_out = threading.Lock()

    @property
    def nbytes_packed(self) -> int:
        """Bytes held besides the blocks: of panels that are no views of them, and of what butterflies laid out."""
        if None not in self._places:
            return 0
        held = [
            int(panel.values.shape[0] * panel.values.shape[1]) * self.dtype.itemsize
            for key, place in self._places.items()
            for panel in place.layout.panels()
            if key is not None or panel.values.base is None
        ]
        return sum(held) + sum(block.products.nbytes_packed for block in self._butterflies())

    @property
    def most_rows(self) -> int:
        """Rows of what is gathered for the left panels, or of a butterfly where that is more."""
        layout = self._place(None).layout
        tall = (max(block.products.shape) for block in self._butterflies())
        return int(max(layout.gather.shape[0], layout.shape[1] + layout.coefficients.shape[0], *tall))

    def _butterflies(self) -> list[ButterflyBlock]:
        return [block for group in self._place(None).layout.butterflies for block in group]

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
        x, out, transposed, conjugated
            As for :meth:`dbutterfly.operator.products.Products.multiply`.
        workers : int
            Threads, among which the panels are divided. One thread of BLAS multiplies by a panel, and a row adds its
            products in one order: they are the same to the bit for any number of threads.
        """
        result = product_dtype(self.dtype, x.dtype, "x")
        if out is not None:
            np.copyto(out[:0], np.empty((0, out.shape[1]), result), casting="same_kind")  # raises before any work
        columns = np.ascontiguousarray(x, result)
        is_paired = self.dtype.kind == "f" and result.kind == "c"  # a complex column is two real ones
        if is_paired:
            columns = columns.view(result.type(0).real.dtype)
        call = functools.partial(self._multiply, columns, transposed=transposed, conjugated=conjugated)
        with single_threaded_blas():
            if workers == 1:
                product = call(run_in_turn)
            else:
                with ThreadPoolExecutor(workers) as pool:
                    product = call(functools.partial(_run_on_threads, pool, workers))
        if is_paired:
            product = product.view(result)
        if out is None:
            return product
        np.copyto(out, product, casting="same_kind")
        return out

    def _multiply(self, x: NDArray[Any], run: Run, *, transposed: bool, conjugated: bool) -> NDArray[Any]:
        place = self._place(None)
        into, outof = (place.rows, place.cols) if transposed else (place.cols, place.rows)
        y: NDArray[Any] = multiply_panels(
            place.layout,
            self.symmetry,
            x if into is None else x[into.order],
            transposed=transposed,
            conjugated=conjugated,
            run=run,
            butterfly=lambda block, part, back: block.products.multiply(part, transposed=back),
        )
        return y if outof is None else y[outof.inverse]

    def multiply_on_device(self, x: Array, *, transposed: bool, conjugated: bool) -> Array:
        """Multiply columns of another namespace, such as CuPy's, by panels on their device."""
        xp = namespace(x)
        place = self._place((xp, x.device))
        into, outof = (place.rows, place.cols) if transposed else (place.cols, place.rows)
        y = multiply_panels(
            place.layout,
            self.symmetry,
            x if into is None else xp.take(x, into.order, axis=0),
            transposed=transposed,
            conjugated=conjugated,
            run=run_in_turn,
            butterfly=_multiply_butterfly_on_device,
        )
        return y if outof is None else xp.take(y, outof.inverse, axis=0)

    def compile(self) -> None:
        """Have the panels, and the compiled kernels of butterflies, when this returns."""
        for block in self._butterflies():
            block.products.compile()

    def _place(self, where: tuple[Any, Any] | None) -> _Place:
        """Layout and orders on a device, made by the first thread that asks for them."""
        key = None if where is None else (where[0].__name__, str(where[1]))
        if key not in self._places:
            with self._laying_out:
                if None not in self._places:
                    self._places[None] = self._lay_out()
                if where is not None and key not in self._places:
                    self._places[key] = _move(self._places[None], *where)
        return self._places[key]

    def _lay_out(self) -> _Place:
        layout = lay_out(self.blocks, self.shape, self.dtype, is_half=self.symmetry != "none")
        return _Place(layout, _Side.of(self.row_order), _Side.of(self.col_order))


class _Side(NamedTuple):
    """Order of one side: which row is at each position, and the position of each row."""

    order: Any
    inverse: Any

    @classmethod
    def of(cls, order: Index | None) -> _Side | None:
        return None if order is None else cls(order, np.argsort(order))


class _Place(NamedTuple):
    """Layout and orders on one device."""

    layout: BlockLayout
    rows: _Side | None
    cols: _Side | None


def _move(place: _Place, xp: Any, device: Any) -> _Place:
    """Copy a layout to a device."""

    def copy(values: Any) -> Any:
        return xp.asarray(np.ascontiguousarray(values), device=device)

    def move(panel: Panel) -> Panel:
        return panel._replace(values=copy(panel.values))

    host = place.layout
    rights = {(panel.start, panel.stop): move(panel) for panel in host.rights}
    layout = host._replace(
        dtype=getattr(xp, np.dtype(host.dtype).name),
        rights=tuple(rights.values()),
        lefts=tuple(tuple(map(move, group)) for group in host.lefts),
        transposed_rights=tuple(tuple(rights[p.start, p.stop] for p in group) for group in host.transposed_rights),
        gather=copy(host.gather),
        entries=copy(host.entries),
        coefficients=copy(host.coefficients),
    )
    rows, cols = (None if side is None else _Side(*map(copy, side)) for side in place[1:])
    return _Place(layout, rows, cols)


def _run_on_threads(pool: ThreadPoolExecutor, workers: int, call: Callable[[Any], None], parts: Sequence[Any]) -> None:
    """Call a function for parts on threads, each of which takes every so-manyth part."""
    for done in [pool.submit(run_in_turn, call, parts[first::workers]) for first in range(min(workers, len(parts)))]:
        done.result()


def _multiply_butterfly_on_device(block: ButterflyBlock, x: Array, is_transposed: bool) -> Array:
    return block.products.multiply_on_device(x, transposed=is_transposed, conjugated=False)
