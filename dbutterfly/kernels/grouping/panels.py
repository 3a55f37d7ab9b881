"""One panel of rows against the groups of a cut: what it takes to read a matrix panel by panel.

Given the leading rows V of all blocks, orthonormal, every row item z, with the parts z_C on the column groups C, is
scored against every row group g, and keeps its products with the blocks of the group that fits it best:

    (1)  products = z_C V_gC^H
    (2)  score = sum over C of |z_C V_gC^H|^2

The products are the left parts of the blocks. Made orthonormal, they are to the columns what the leading rows are to
the rows: rows and columns by turns are a block power iteration.
"""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, is_complex, namespace
from ..orthonormal import orthonormalizers
from .groups import squared_moduli

__all__ = ["PanelFit", "fit_panel", "orthonormal_parts", "row_basis"]


class PanelFit(NamedTuple):
    """Fit of the rows of a panel into row groups.

    Attributes
    ----------
    scores : array of float, shape (b, u)
        Energy (2) of each row that the blocks of each group capture.
    best : array of int, shape (b,)
        Group that captures most.
    products : array, shape (b, q, r)
        Products (1) of each row with the leading rows of the blocks of that group.
    """

    scores: Array
    best: Array
    products: Array


def fit_panel(panel: Array, basis: Array, row_groups: int, labels: Array | None = None) -> PanelFit:
    """Score the rows of a panel against row groups.

    Parameters
    ----------
    panel : array, shape (b, q*v)
        Rows, with contiguous column groups.
    basis : array, shape (q, v, u*r)
        Conjugates of the orthonormal leading rows of the blocks, as columns (:func:`row_basis`).
    row_groups : int
        Number u of row groups.
    labels : array of int, shape (b,), optional
        Groups that count as best, where they are known.
    """
    xp = namespace(panel)
    q, v, width = basis.shape
    b, u = panel.shape[0], row_groups
    rows = xp.permute_dims(xp.reshape(panel, (b, q, v)), (1, 0, 2))
    products = xp.reshape(xp.matmul(rows, basis), (q, b, u, width // u))  # (1)
    scores = xp.sum(squared_moduli(products), axis=(0, 3))  # (2)
    best = xp.argmax(scores, axis=1) if labels is None else labels
    place = xp.broadcast_to(best[None, :, None, None], (q, b, 1, width // u))
    own = xp.take_along_axis(products, place, axis=2)[:, :, 0, :]
    return PanelFit(scores, best, xp.permute_dims(own, (1, 0, 2)))


def row_basis(leading: Array) -> Array:
    """Basis for :func:`fit_panel` from the leading rows (u, q, r, v) of blocks."""
    xp = namespace(leading)
    u, q, r, v = leading.shape
    turned = xp.reshape(xp.permute_dims(leading, (1, 3, 0, 2)), (q, v, u * r))
    return xp.conj(turned) if is_complex(xp, turned.dtype) else turned


def orthonormal_parts(products: Array, row_groups: int) -> Array:
    """Basis against which columns are scored, from the left parts of the blocks.

    Parameters
    ----------
    products : array, shape (u*p, q, r)
        Left parts, with contiguous row groups.
    row_groups : int
        Number u of row groups.

    Returns
    -------
    array, shape (u, p, q*r)
        Basis for :func:`fit_panel` with the panels of the transposed matrix, whose q row groups are the column groups.
    """
    xp = namespace(products)
    m, q, r = products.shape
    u, p = row_groups, m // row_groups
    blocks = xp.reshape(xp.permute_dims(xp.reshape(products, (u, p, q, r)), (0, 2, 1, 3)), (u * q, p, r))
    columns = xp.matmul(blocks, orthonormalizers(blocks))
    rows = xp.reshape(xp.matrix_transpose(columns), (u, q, r, p))
    basis = xp.reshape(xp.permute_dims(rows, (0, 3, 1, 2)), (u, p, q * r))
    return xp.conj(basis) if is_complex(xp, basis.dtype) else basis
