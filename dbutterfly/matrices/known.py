"""Matrices whose norm and butterfly structure are known, and checks of the arguments that all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..sources.entries import Entries, EntryFunction
from ..structure.arguments import as_integer, read_choice, read_count, show_value
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.points import Points

__all__ = [
    "Indices",
    "KnownMatrix",
    "Matrix",
    "Seed",
    "as_entries",
    "as_known",
    "check_chain",
    "check_choice",
    "check_power",
    "check_size",
    "draw_entropy",
    "generator",
    "square_chain",
]

Indices: TypeAlias = NDArray[np.int64]
"""Rows or columns of a block."""

Seed: TypeAlias = "int | np.random.Generator | None"
"""Seed of random numbers; None is new at every call."""

Matrix: TypeAlias = "Entries | NDArray[Any]"
"""Matrix that can be made noisy, shuffled or written."""

LARGEST_SIZE = 1 << 40
"""Most rows of a known matrix, a vector of which takes 8 TiB. Not tuned: tables of its roots are as long."""

PANEL_ENTRIES = 1 << 20
"""Entries that are evaluated at a time for a norm: at most 16 MiB, unless one row is longer. Not tuned."""


class KnownMatrix(Entries):
    """A matrix given by its entry function, of which the norm and the butterfly structure are known.

    Parameters
    ----------
    f : callable
        Entry function, as for :class:`~dbutterfly.Entries`.
    shape : (int, int)
        Rows M and columns N.
    dtype : dtype
        float32, float64, complex64 or complex128.
    norm : float or None
        Frobenius norm; None where it is to be computed when it is asked for.
    chain : Chain, optional
        Chain of which the matrix is a product, up to noise; None where there is none.
    orderings : Orderings or pair, optional
        Orderings that bring the matrix into the standard order of ``chain``.
    tol : float
        Relative tolerance at which the blocks of every cut have the ranks of ``chain``; 0 where they have them exactly.
    points : callable, optional
        Makes the points to which rows and columns belong, when they are asked for.

    Attributes
    ----------
    norm : float
        Frobenius norm.
    chain : Chain or None
        Chain of which the matrix is a product, up to ``tol`` and noise.
    orderings : Orderings
        ``Z[rows][:, cols]`` is in standard order.
    tol : float
        Relative tolerance at which the blocks of every cut have the ranks of ``chain``; noise not counted.
    points : Points or None
        Points to which rows and columns belong; None where there are none.

    Notes
    -----
    ``factorize(Z, Z.chain, orderings=Z.orderings)`` is the factorization that fits a known matrix ``Z``.
    """

    def __init__(
        self,
        f: EntryFunction,
        shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        norm: float | None,
        chain: Chain | None = None,
        orderings: Any = None,
        tol: float = 0.0,
        points: Callable[[], Points] | None = None,
    ) -> None:
        super().__init__(f, shape, dtype)
        self._norm = None if norm is None else float(norm)
        self.chain = chain
        self.orderings = Orderings.from_any(orderings)
        self.tol = float(tol)
        self._points = points

    @property
    def norm(self) -> float:
        """Frobenius norm; one that is not known is computed from all entries when it is first asked for."""
        if self._norm is None:
            self._norm = _frobenius_norm(self)
        return self._norm

    @property
    def points(self) -> Points | None:
        """Points to which rows and columns belong, to be given to ``factorize(..., points=Z.points)``; None without."""
        return None if self._points is None else self._points()

    @property
    def rank(self) -> int | None:
        """Largest rank of a junction of ``chain``; None where there is no chain."""
        return None if self.chain is None else self.chain.rank


def as_known(matrix: Matrix) -> KnownMatrix:
    """Return ``matrix`` as a KnownMatrix. A norm that is not known is computed, which evaluates every entry once."""
    if isinstance(matrix, KnownMatrix):
        return matrix
    entries = as_entries(matrix)
    return KnownMatrix(entries.f, entries.shape, entries.dtype, norm=_frobenius_norm(entries))


def as_entries(matrix: Any) -> Entries:
    """Return ``matrix`` as an entry function.

    Raises
    ------
    InputError
        If it is neither one nor a two-dimensional NumPy array.
    """
    if isinstance(matrix, Entries):
        return matrix
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise InputError(
            f"matrix of type {type(matrix).__name__} and shape {getattr(matrix, 'shape', None)} is neither a "
            "two-dimensional NumPy array nor an entry function (dbutterfly.entries)"
        )
    return Entries(_Stored(matrix), (matrix.shape[0], matrix.shape[1]), matrix.dtype)


def _frobenius_norm(entries: Entries) -> float:
    """Frobenius norm, from panels of whole rows."""
    step = max(PANEL_ENTRIES // entries.shape[1], 1)
    total = 0.0
    for start in range(0, entries.shape[0], step):
        panel = entries.block(slice(start, start + step), slice(None))
        panel = panel.astype(np.result_type(panel, np.float64), copy=False)
        total += float(np.vdot(panel, panel).real)
    return math.sqrt(total)


@dataclass(frozen=True, eq=False)
class _Stored:
    """Entry function of an array in memory."""

    array: NDArray[Any]

    def __repr__(self) -> str:
        return "array"

    def __call__(self, rows: Indices, cols: Indices) -> NDArray[Any]:
        return self.array[rows[:, None], cols]


def check_size(n: Any) -> int:
    """Return ``n`` as a positive int; raise InputError if it is none."""
    if as_integer(n) is None:
        raise InputError(f"n={show_value(n)} is not an integer; it is the number of rows and columns")
    return read_count("n", n, most=LARGEST_SIZE, remedy="the smallest matrix has one row")


def check_power(n: Any, name: str) -> int:
    """Return ``n`` as an int; raise InputError unless it is a power of two, as the matrix ``name`` needs."""
    size = check_size(n)
    if size & (size - 1):
        raise InputError(f"n={n!r} is not a power of two; {name} exists for 1, 2, 4, 8, ... rows only")
    return size


def square_chain(n: int) -> Chain:
    """Square dyadic chain for a power of two, else the longest chain of the prime factors."""
    return Chain.chainable((n, n), longer=False) if n & (n - 1) else Chain.square_dyadic(n)


def check_chain(chain: Any) -> Chain:
    """Return ``chain`` as a Chain; a size or a shape stands for the chain of such a matrix."""
    sides = chain if as_integer(chain) is None else (chain, chain)
    if isinstance(sides, tuple) and len(sides) == 2 and all(as_integer(side) is not None for side in sides):
        rows, cols = (check_size(side) for side in sides)
        return square_chain(rows) if rows == cols else Chain.chainable((rows, cols), longer=False)
    return Chain.from_any(chain)


def check_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``; raise InputError if not."""
    texts = [str(choice) for choice in choices]
    return str(read_choice(name, value, choices=texts, remedy=f"use one of {', '.join(texts)}"))


def draw_entropy(seed: Any) -> int:
    """Draw an integer from a seed. An entry function keeps it, to draw the same numbers in any process."""
    return int(generator(seed).integers(2**63))


def generator(seed: Any) -> np.random.Generator:
    """Generator of a seed; raise InputError if it is no seed."""
    count = as_integer(seed)
    if count is not None and count >= 0:
        return np.random.default_rng(count)
    if seed is None or isinstance(seed, (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)):
        return np.random.default_rng(seed)
    raise InputError(f"seed={show_value(seed)} is not usable; give a non-negative integer, a numpy Generator or None")
