"""The result in the hierarchical form: blocks, one certificate for all of them, and the error of each."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...operator.block_factors import BlockFactors
from ...operator.block_values import arrange_blocks
from ...operator.hierarchical import HierarchicalOperator
from .certificate import Certificate
from .hierarchical_text import describe_kinds, format_kinds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["HierarchicalFactorization"]


@dataclass(frozen=True, eq=False)
class HierarchicalFactorization:
    """A matrix as disjoint blocks, each dense, of low rank or a butterfly, with the proof of how good they are.

    Attributes
    ----------
    blocks : tuple of BlockFactors
        The blocks, by positions of the rows and columns. Their values are put into one array, in the order in which the
        operator wants them: those of a result that was opened are there already.
    shape : (int, int)
        Rows and columns of the matrix.
    dtype : dtype
        Dtype of the values.
    row_order, col_order : array of int or None
        Row, and column, at each position; None where they stay as they are.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether the blocks below the diagonal stand for those above it.
    certificate : Certificate
        Error bound, lower bound and their ratio, of the whole matrix: squares of errors of disjoint blocks add up.
    table : array of float64, shape (n_blocks, 4)
        Of each block the energy, the squared error, the square of the lower bound, and the standard deviation of the
        squared error, 0 where it is proven. With a symmetry, blocks below the diagonal count twice in the sums.
    record : dict
        What the run did.
    """

    blocks: tuple[BlockFactors, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    row_order: NDArray[np.int64] | None
    col_order: NDArray[np.int64] | None
    symmetry: str
    certificate: Certificate
    table: NDArray[np.float64]
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _, arranged = arrange_blocks(self.blocks, self.dtype)
        object.__setattr__(self, "blocks", tuple(arranged))

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all blocks."""
        return sum(values.nbytes for block in self.blocks for values in block.ks_values)

    @property
    def compression(self) -> float:
        """Bytes of the dense matrix over those of the blocks."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize / max(self.nbytes, 1)

    @cached_property
    def operator(self) -> HierarchicalOperator:
        """The blocks as a linear operator that approximates the matrix as it was given."""
        return HierarchicalOperator(
            self.blocks, self.shape, self.dtype, self.row_order, self.col_order, symmetry=self.symmetry
        )

    @property
    def errors(self) -> NDArray[np.float64]:
        """Error of each block, shape (n_blocks,), relative to the norm of the whole matrix."""
        norm = self.certificate.norm
        return np.sqrt(np.maximum(self.table[:, 1], 0)) / norm if norm else np.zeros(len(self.table))

    __array_ufunc__ = None
    """NumPy leaves ``x @ fact`` to the factorization."""

    def __matmul__(self, x: Any) -> Any:
        """Multiply by the operator, as ``fact.operator @ x`` does."""
        return self.operator @ x

    def __rmatmul__(self, x: Any) -> Any:
        """Multiply from the left, as ``x @ fact.operator`` does."""
        return x @ self.operator

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return what the blocks of each kind are, as plain values.

        Returns
        -------
        dict of dict
            By kind, ``"dense"``, ``"low rank"``, ``"butterfly"`` and ``"zero"``: ``blocks``, how many; ``entries``, the
            part of the matrix that they cover; ``values``, how many they hold; ``ranks``, the least, the median and the
            largest.
        """
        return describe_kinds(self)

    def save(self, store: Any, *, overwrite: bool = False) -> None:
        """Write the factorization, to be read by :func:`dbutterfly.open`.

        Parameters
        ----------
        store : str, path, or Zarr store
            Where; anything that ``zarr.open_group`` takes.
        overwrite : bool
            Whether to replace a stored result, operator or run that is there. It stays until the new one is complete.
            Nothing else is replaced, and nothing in object storage.

        Raises
        ------
        StoreError
            If something is there that may not be replaced, or the place cannot be written.
        """
        from .hierarchical_files import save_hierarchical

        save_hierarchical(self, store, overwrite=overwrite)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page that shows the blocks with their ranks and errors, the certificate, the stages and the plan.

        Parameters
        ----------
        path : str or path
            Place of the HTML file. It needs nothing else, neither files nor network. Another report that is there is
            replaced, and nothing else.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        from .report.block_page import block_page
        from .report.page import write_page

        write_page(path, block_page(self))

    def plot(self, kind: str = "ranks", ax: Axes | None = None) -> Axes:
        """Draw the map of the blocks, in the order of the positions.

        Parameters
        ----------
        kind : {"ranks", "errors"}
            Their kinds and ranks; or their errors, relative to the norm of the matrix, on a scale that is the same for
            all matrices.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The drawing.

        Raises
        ------
        InputError
            If ``kind`` is unknown, ``ax`` is no Axes, or matplotlib is not installed.
        """
        from .block_plots import plot_blocks

        return plot_blocks(self, kind, ax)

    def _repr_html_(self) -> str:
        """Show a verdict, the bounds and the map of the blocks in a notebook."""
        from .block_pictures import hierarchical_html

        return hierarchical_html(self)

    def __str__(self) -> str:
        return "\n".join([*format_kinds(self), str(self.certificate)])

    def __repr__(self) -> str:
        rows, cols = self.shape
        symmetry = "" if self.symmetry == "none" else f", {self.symmetry}"
        return (
            f"<HierarchicalFactorization of a {rows} x {cols} {self.dtype.name} matrix{symmetry}: {len(self.blocks)} "
            f"blocks, {self.compression:.1f} times smaller; {self.certificate}>"
        )
