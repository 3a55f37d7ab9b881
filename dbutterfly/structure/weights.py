"""Weights of the rows and columns of a matrix, by which its errors count.

With weights d1 of the rows and d2 of the columns, as diagonal matrices D1 and D2, a product X is to make
``||D1 (Z - X) D2||`` small. Diagonals map the products of a chain onto each other. Therefore ``D1 Z D2`` is factorized
in place of Z, and the outermost factors are divided by the weights in the end: what is known of the product of
``D1 Z D2``, as the bounds of its error, is known of X in the weighted norm.

A relative error does not depend on the scale of the weights. Inside a run they are divided by a power of two, which
rounds nothing, such that none is above one and products with them cannot overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .plain_arrays import as_plain_array
from .shown_values import show_value

__all__ = ["ScaledWeights", "Weights", "read_weights"]

Vector: TypeAlias = "NDArray[Any]"

ScaledWeights: TypeAlias = "tuple[Vector | None, Vector | None]"
"""Weights of rows and columns in the dtype of a computation, none above one; None of a side without weights."""

MARGIN = 4
"""Powers of two that are left between the smallest square of a weighted entry of modulus one and the end of the range
of a dtype. Not tuned."""


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """Weights of the rows and of the columns of a matrix.

    Parameters
    ----------
    rows, cols : array_like of float, shape (M,) and (N,), optional
        Positive numbers: NumPy, Zarr, xarray, or lists. None where all rows, or columns, count alike.

    Raises
    ------
    InputError
        If a side is no vector of positive finite numbers.
    """

    rows: Any = None
    cols: Any = None

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            object.__setattr__(self, name, _read_side(f"weights: {name}", getattr(self, name)))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={None if w is None else w.shape}" for name, w in self.sides.items())
        return f"Weights({shapes})"

    def __str__(self) -> str:
        given = zip(("rows", "columns"), self.sides.values(), strict=True)
        return ", ".join(f"{name} by {w.min():.3g} to {w.max():.3g}" for name, w in given if w is not None)

    @property
    def sides(self) -> dict[str, NDArray[np.float64] | None]:
        """Weights of both sides by name: ``rows`` and ``cols``, as they were given, or None."""
        return {"rows": self.rows, "cols": self.cols}

    def validate(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Raise InputError unless the weights are those of a matrix, and can be multiplied with its entries.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the matrix.
        dtype : numpy.dtype
            In which it is computed.
        """
        for (name, weights), size in zip(self.sides.items(), shape, strict=True):
            if weights is not None and weights.size != size:
                raise InputError(
                    f"weights: {name} has {weights.size} entries and the matrix {size} {name}; give one for each, in "
                    "the order of the matrix"
                )
        most = np.finfo(dtype).maxexp // 2 - MARGIN  # so that squares stay in the range too
        if sum(math.log2(w.max()) - math.log2(w.min()) for w in self.sides.values() if w is not None) <= most:
            return
        wider = "" if most > 100 else ", or convert the matrix to double precision"
        raise InputError(
            f"weights={self} span so much that products with them leave the range of {dtype}: the largest of each side "
            f"may be 2^{most} times the smallest, both sides together; raise the smallest ones{wider}"
        )

    def scaled(self, dtype: np.dtype[Any]) -> ScaledWeights:
        """Weights as multiples of a power of two, none above one.

        Parameters
        ----------
        dtype : numpy.dtype
            In which the matrix is computed; real numbers of its precision are returned.
        """
        real = np.finfo(dtype).dtype
        rows, cols = (
            None if side is None else np.ldexp(side, -_exponent(side)).astype(real) for side in self.sides.values()
        )
        return rows, cols

    def unscale(self, norm: float) -> float:
        """Norm of ``D1 Z D2``, from that with scaled weights; infinite where it is out of range."""
        with np.errstate(over="ignore"):
            return float(np.ldexp(norm, self._common_exponent))

    def rescale(self, norm: float) -> float:
        """Norm with scaled weights, from that of ``D1 Z D2``: inverse of :meth:`unscale`."""
        with np.errstate(over="ignore"):
            return float(np.ldexp(norm, -self._common_exponent))

    @property
    def _common_exponent(self) -> int:
        """Power of two by which scaled weights of both sides together are divided."""
        return sum(_exponent(side) for side in self.sides.values() if side is not None)


def read_weights(name: str, value: Any) -> Weights | None:
    """Read weights as callers give them: None, Weights, or a pair of vectors.

    Raises
    ------
    InputError
        If they are none.
    """
    if value is None or isinstance(value, Weights):
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InputError(
            f"{name}={show_value(value)} is no pair (rows, cols) of vectors of weights; a side without weights is None"
        )
    found = Weights(*value)
    return found if any(side is not None for side in found.sides.values()) else None


def _exponent(weights: NDArray[np.float64]) -> int:
    """Least power of two that is above all weights."""
    return math.frexp(float(weights.max()))[1]


def _read_side(name: str, value: Any) -> NDArray[np.float64] | None:
    if value is None:
        return None
    array = as_plain_array(value, name)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} has dtype {array.dtype}; weights are positive real numbers, such as moduli")
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; give a vector, with one weight for each of the matrix")
    with np.errstate(over="ignore"):
        found = np.array(array, np.float64)
    bad = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if bad.size:
        raise InputError(
            f"{name} has {found[bad[0]]} at index {bad[0]}; weights are positive and finite: give a small one to what "
            "hardly counts, or leave it out of the matrix"
        )
    found.flags.writeable = False
    return found
