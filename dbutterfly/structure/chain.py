"""Patterns and chains of Kronecker-sparse factors: integers only, no arrays.

A *pattern* ``(a, b, c, d)`` is the support ``I_a (x) 1_{b x c} (x) I_d`` of a sparse matrix of shape
``(a*b*d, a*c*d)``; its nonzeros are held in a 4-D array ``ks_values[a, b, c, d]``. A *chain* is a list of patterns,
left to right, the factors of ``Z ~ X_1 X_2 ... X_J``. It is *chainable* (Zheng, Le, Riccietti and Gribonval,
arXiv 2411.04506, definition 4.1) when neighbours satisfy ``a1*c1/a2 = b2*d2/d1 = r`` for an integer ``r``, the
rank of the junction, and ``a1 | a2``, ``d2 | d1``.

Cutting a chainable chain after factor ``s`` splits the matrix into ``u*q`` disjoint blocks of rank at most ``r``:
seen as ``Z.reshape(p, u, q, v)``, each ``Z[:, rl, ch, :]`` is one of them::

          ch = 0          ch = 1                 (q column groups of v columns)
    rl  +-------------+-------------+
    0   | o o o o o o | * * * * * * |   rh = 0   rows rh*u + rl: the p rows of a row group
    1   | . . . . . . | x x x x x x |            are u apart, the v columns of a column
        +-------------+-------------+            group are neighbours
    0   | o o o o o o | * * * * * * |   rh = 1
    1   | . . . . . . | x x x x x x |            equal marks: one block
        +-------------+-------------+

The left parts of all blocks are again matrices to be factorized, by the patterns up to ``s``, and the right parts by
the patterns after ``s``: a binary tree over the factors (:mod:`.tree`) says where to cut next.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self, SupportsIndex, overload

from ..errors import ChainError
from .arguments import LARGEST, as_integer, read_count, show_value
from .known_chains import chainable_digits, monarch_patterns, patterns_of_digits, square_dyadic_patterns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chain", "Cut", "Pattern", "read_chain"]

MOST_PATTERNS = 1 << 16
"""Most patterns of a chain: an iterable may have no end. Not tuned; a side has at most 63 digits above 1."""


class Pattern(NamedTuple):
    """Support ``I_a (x) 1_{b x c} (x) I_d`` of one Kronecker-sparse factor."""

    a: int
    b: int
    c: int
    d: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the factor as a matrix."""
        return self.a * self.b * self.d, self.a * self.c * self.d

    @property
    def nnz(self) -> int:
        """Number of stored values, the size of ``ks_values``."""
        return self.a * self.b * self.c * self.d

    def __repr__(self) -> str:
        return f"({self.a}, {self.b}, {self.c}, {self.d})"


class Cut(NamedTuple):
    """The blocks of one cut: ``Z.reshape(p, u, q, v)[:, rl, ch, :]``, each of shape ``(p, v)`` and rank ``rank``.

    Attributes
    ----------
    p : int
        Rows of a row group.
    u : int
        Number of row groups.
    q : int
        Number of column groups.
    v : int
        Columns of a column group.
    rank : int
        Largest rank of a block. It may exceed what the shape of a block allows.
    """

    p: int
    u: int
    q: int
    v: int
    rank: int

    @classmethod
    def of_groups(cls, shape: tuple[int, int], row_groups: int, col_groups: int, rank: int) -> Self:
        """Cut a matrix of some shape into equal groups of rows and columns.

        Raises
        ------
        ChainError
            If the number of groups does not divide a side.
        """
        (rows, cols), groups = shape, (row_groups, col_groups)
        if min(groups) < 1 or rows % row_groups or cols % col_groups:
            raise ChainError(
                f"row_groups={row_groups}, col_groups={col_groups} do not divide a matrix of {rows} x {cols}"
            )
        return cls(rows // row_groups, row_groups, col_groups, cols // col_groups, rank)

    @property
    def row_groups(self) -> int:
        """Number of row groups, each of which meets every column group in one block."""
        return self.u

    @property
    def col_groups(self) -> int:
        """Number of column groups."""
        return self.q

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of a block."""
        return self.p, self.v

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix that is cut."""
        return self.p * self.u, self.q * self.v

    @property
    def T(self) -> Cut:
        """Cut of the transposed matrix into the transposed blocks."""
        return Cut(self.v, self.q, self.u, self.p, self.rank)

    def degrees_of_freedom(self, shape: tuple[int, int]) -> int:
        """Count the parameters of the matrices of some shape whose blocks under these groups have this rank.

        Parameters
        ----------
        shape : (int, int)
            Shape of the matrices. It is that of the cut, or a multiple of it where every row or column of the cut
            stands for several lines of a matrix.
        """
        p, v = shape[0] // self.u, shape[1] // self.q
        rank = min(self.rank, p, v)
        return self.u * self.q * rank * (p + v - rank)


@dataclass(frozen=True)
class Chain:
    """Sequence of patterns, left to right, whose factors multiply to one matrix.

    Parameters
    ----------
    patterns : sequence of (int, int, int, int)
        Patterns ``(a, b, c, d)``. Neighbours must multiply: ``a1*c1*d1 == a2*b2*d2``.

    Raises
    ------
    ChainError
        If a pattern is not four positive integers or two neighbours do not multiply.

    Notes
    -----
    Terms and layout are those of ``lazylinop.butterfly``; a chain of that package is accepted wherever
    dbutterfly takes one.

    Examples
    --------
    >>> Chain.square_dyadic(8)
    Chain([(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1)])
    >>> Chain.monarch((21, 16)).shape
    (21, 16)
    >>> Chain.square_dyadic(8)[-1], Chain.square_dyadic(8)[1:]
    ((4, 2, 2, 1), Chain([(2, 2, 2, 2), (4, 2, 2, 1)]))
    """

    patterns: tuple[Pattern, ...]

    def __init__(self, patterns: Iterable[Sequence[int]]) -> None:
        checked = _check_patterns(patterns)
        if not checked:
            raise ChainError("patterns is empty; a chain needs at least one pattern (a, b, c, d)")
        for index, (left, right) in enumerate(itertools.pairwise(checked)):
            if left.shape[1] != right.shape[0]:
                raise ChainError(
                    f"patterns[{index}] = {left} has {left.shape[1]} columns but patterns[{index + 1}] = {right} has "
                    f"{right.shape[0]} rows; neighbours must satisfy a1*c1*d1 == a2*b2*d2"
                )
        object.__setattr__(self, "patterns", checked)

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self.patterns))}])"

    def _repr_html_(self) -> str:
        """Show the supports of the factors in a notebook."""
        from .pictures import chain_html

        return chain_html(self)

    def __len__(self) -> int:
        return len(self.patterns)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self.patterns)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Pattern: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Pattern | Chain:
        """Pattern of a factor, or the chain of some neighbours."""
        return Chain(self.patterns[index]) if isinstance(index, slice) else self.patterns[index]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the product."""
        return self.patterns[0].shape[0], self.patterns[-1].shape[1]

    @property
    def nnz(self) -> int:
        """Number of values that all factors store together."""
        return sum(pattern.nnz for pattern in self.patterns)

    @property
    def T(self) -> Chain:
        """Chain of the transposed product."""
        return Chain([(a, c, b, d) for a, b, c, d in reversed(self.patterns)])

    @cached_property
    def ranks(self) -> tuple[int, ...] | None:
        """Rank of each junction between neighbours, or None where the chain is not chainable."""
        ranks = []
        for (a1, _, c1, d1), (a2, b2, _, d2) in itertools.pairwise(self.patterns):
            rank = a1 * c1 // a2
            if rank < 1 or rank * a2 != a1 * c1 or rank * d1 != b2 * d2 or a2 % a1 or d1 % d2:
                return None
            ranks.append(rank)
        return tuple(ranks)

    @property
    def is_chainable(self) -> bool:
        """Whether every cut of the chain yields disjoint low-rank blocks (arXiv 2411.04506, definition 4.1)."""
        return self.ranks is not None

    @property
    def rank(self) -> int:
        """Largest rank of a junction (1 for a single pattern)."""
        return max(self._junction_ranks(), default=1)

    @property
    def is_dense(self) -> bool:
        """Whether the product of the supports is a full matrix, as the factorization of a full matrix needs."""
        return self.is_chainable and self.patterns[0].a == 1 and self.patterns[-1].d == 1

    @property
    def row_radices(self) -> tuple[int, ...]:
        """Digits of a row index, most significant first: factor ``l`` mixes the rows along digit ``l``."""
        ranks = (1, *self._junction_ranks())
        return tuple(pattern.b // rank for pattern, rank in zip(self.patterns, ranks, strict=True))

    @property
    def col_radices(self) -> tuple[int, ...]:
        """Digits of a column index, most significant first."""
        ranks = (*self._junction_ranks(), 1)
        return tuple(pattern.c // rank for pattern, rank in zip(self.patterns, ranks, strict=True))

    def cut(self, position: int) -> tuple[Cut, Chain, Chain]:
        """Split a dense chain after its first ``position`` factors.

        Parameters
        ----------
        position : int
            From 1 to ``len(self) - 1``.

        Returns
        -------
        cut : Cut
            Sizes ``p, u, q, v`` and the rank of the blocks.
        left, right : Chain
            Dense chains of shape ``(p, q*rank)``, to be used ``u`` times, and ``(u*rank, v)``, to be used ``q`` times.

        Raises
        ------
        ChainError
            If the chain is not chainable or ``position`` is out of range.
        """
        return _cut_once(self, position) if type(position) is int else _cut(self, position)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the supports of the factors, from left to right.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The drawing: where each factor may differ from zero, with its pattern below.

        Raises
        ------
        InputError
            If ``ax`` is no Axes, or matplotlib is not installed.
        """
        from .plots import plot_chain

        return plot_chain(self, ax)

    @classmethod
    def of_digits(cls, row_digits: Sequence[int], col_digits: Sequence[int], ranks: Sequence[int]) -> Chain:
        """Build a chain from its digits and the ranks of its junctions.

        Parameters
        ----------
        row_digits, col_digits : sequences of int
            Digits of a row index and of a column index, most significant first, as many of each.
        ranks : sequence of int
            Rank of each junction, one fewer than digits.

        Returns
        -------
        Chain
            Pattern ``l`` is ``(n_1...n_(l-1), m_l*r_(l-1), n_l*r_l, m_(l+1)...m_J)``, without ranks at the outer ends.

        Raises
        ------
        ChainError
            If the digits or ranks are not positive, or not as many as they must be.
        """
        if not len(row_digits) == len(col_digits) == len(ranks) + 1:
            raise ChainError(
                f"row_digits={show_value(row_digits)}, col_digits={show_value(col_digits)} and "
                f"ranks={show_value(ranks)} do not go together; give as many digits of both, and one rank fewer"
            )
        return cls(patterns_of_digits(row_digits, col_digits, ranks))

    def of_rank(self, rank: int) -> Chain:
        """Build the chain with the same digits whose junctions all have another rank.

        Parameters
        ----------
        rank : int
            At least 1. Above the digits at an end, some of it is redundant.

        Returns
        -------
        Chain
            Chain of the same shape.
        """
        rank = read_count("rank", rank, remedy="the smallest rank is 1", error=ChainError)
        return self._of_ranks([rank] * (len(self) - 1))

    def with_ranks(self, ranks: Sequence[int]) -> Chain:
        """Build the chain with the same digits whose junctions have other ranks, each its own.

        Parameters
        ----------
        ranks : sequence of int
            Rank of each junction, from left to right; at least 1.

        Returns
        -------
        Chain
            Chain of the same shape.

        Raises
        ------
        ChainError
            If there are not as many ranks as junctions, or one of them is not positive.
        """
        junctions = len(self) - 1
        if isinstance(ranks, (str, bytes)) or not isinstance(ranks, Sequence) or len(ranks) != junctions:
            raise ChainError(
                f"ranks={show_value(ranks)} are not the ranks of {junctions} junctions, one between neighbouring "
                f"factors each; give a list of {junctions}"
            )
        remedy = "the smallest rank is 1"
        return self._of_ranks([read_count("ranks", rank, remedy=remedy, error=ChainError) for rank in ranks])

    def raised(self, by: int) -> Chain:
        """Build the chain with the same digits whose junctions all have a higher rank.

        Parameters
        ----------
        by : int
            What is added to each rank. Above the digits at an end, some of it is redundant.

        Returns
        -------
        Chain
            Chain of the same shape.
        """
        return self._of_ranks([rank + by for rank in self._junction_ranks()])

    def _of_ranks(self, ranks: Sequence[int]) -> Chain:
        return Chain(patterns_of_digits(self.row_radices, self.col_radices, ranks))

    def _junction_ranks(self) -> tuple[int, ...]:
        if self.ranks is None:
            raise ChainError(
                f"{self!r} is not chainable; neighbours need a1*c1/a2 == b2*d2/d1 == r, an integer, a1 | a2, d2 | d1"
            )
        return self.ranks

    @classmethod
    def from_any(cls, chain: Any) -> Chain:
        """Return ``chain`` as a Chain: a Chain, a list of patterns, or a chain of ``lazylinop.butterfly``.

        Raises
        ------
        ChainError
            If it is none of them.
        """
        return read_chain("chain", chain)

    @classmethod
    def square_dyadic(cls, n: int | tuple[int, int]) -> Chain:
        """Build the chain ``(2^(l-1), 2, 2, n/2^l)``, l = 1..log2(n), of the fast Fourier and Hadamard transforms.

        Parameters
        ----------
        n : int or (int, int)
            Size of the square matrix, a power of two; a shape is taken as well.

        Raises
        ------
        ChainError
            If ``n`` is not a power of two, at least 1, or the shape is not square.
        """
        return cls(square_dyadic_patterns(n))

    @classmethod
    def monarch(cls, shape: tuple[int, int], p: int | None = None, q: int | None = None) -> Chain:
        """Build the two patterns ``(1, p, q, M/p), (q, M/p, N/q, 1)`` of the Monarch class (Dao et al., 2022).

        Parameters
        ----------
        shape : (int, int)
            Rows M and columns N of the matrix.
        p, q : int, optional
            Divisors of M and N; by default those nearest to the square roots.

        Raises
        ------
        ChainError
            If ``p`` does not divide M or ``q`` does not divide N.
        """
        return cls(monarch_patterns(shape, p, q))

    @classmethod
    def chainable(
        cls,
        shape: tuple[int, int],
        rank: int = 1,
        leaf: int | None = None,
        *,
        balanced: bool = False,
        longer: bool = True,
    ) -> Chain:
        """Build a long chainable chain for any shape from the prime factors of its sides.

        Parameters
        ----------
        shape : (int, int)
            Rows M and columns N of the matrix. Where a side has a prime factor above 7, the chain may be up to 15 %
            longer than the matrix: a matrix of 1009 rows gets a chain of 1024, of which 15 positions are gaps.
        rank : int
            Rank of every junction, at least 1.
        leaf : int, optional
            Least number of rows of the first pattern's blocks and of columns of the last one's, by default ``rank``:
            a smaller one would make the rank redundant.
        balanced : bool
            Whether both sides are cut alike at both ends, so that for a square matrix the blocks of every cut have as
            many entries as those of rank one. The rank of an oscillatory block grows with its area: such chains are
            wider at the ends, and need a lower rank in between.
        longer : bool
            Whether the chain may be longer than the matrix. Exact transforms of a size have factors of this size only.

        Returns
        -------
        Chain
            Both sides are cut into the same number of digits, as many as the side with fewer prime factors allows,
            and as equal as they can be. Its sides are those of the matrix, or longer ones with which it has fewer
            values, by more than a quarter.

        Raises
        ------
        ChainError
            If ``rank`` or ``leaf`` is not positive, or larger than the matrix.

        Notes
        -----
        With row digits ``m_1 ... m_J`` and column digits ``n_1 ... n_J``, pattern ``l`` is
        ``(n_1...n_(l-1), m_l*r, n_l*r, m_(l+1)...m_J)``, without the ``r`` at the two outer ends (arXiv 2411.04506,
        lemma 4.25).
        """
        m, n = chainable_digits(shape, rank, leaf, balanced=balanced, longer=longer)
        return cls(patterns_of_digits(m, n, [rank] * (len(m) - 1)))


def read_chain(name: str, value: Any) -> Chain:
    """Read a chain: a Chain, a list of patterns, or a chain of ``lazylinop.butterfly``.

    Raises
    ------
    ChainError
        If it is none of them.
    """
    if isinstance(value, Chain):
        return value
    patterns = getattr(value, "ks_patterns", value)
    if isinstance(patterns, (str, bytes)) or not isinstance(patterns, Iterable):
        raise ChainError(f"{name}={show_value(value)} is neither a Chain nor a list of patterns (a, b, c, d)")
    return Chain(patterns)


def _check_patterns(patterns: Any) -> tuple[Pattern, ...]:
    if isinstance(patterns, (str, bytes)) or not isinstance(patterns, Iterable):
        raise ChainError(f"patterns={show_value(patterns)} is no list of patterns (a, b, c, d)")
    try:
        given = tuple(itertools.islice(patterns, MOST_PATTERNS + 1))
    except Exception as error:  # whatever an object does when it is asked for its items
        raise ChainError(f"patterns={show_value(patterns)} is no list of patterns (a, b, c, d): {error}") from error
    if len(given) > MOST_PATTERNS:
        raise ChainError(f"patterns={show_value(patterns)} has more than {MOST_PATTERNS} patterns")
    return tuple(_check_pattern(pattern) for pattern in given)


def _check_pattern(pattern: Any) -> Pattern:
    try:
        given = () if isinstance(pattern, (str, bytes)) else tuple(itertools.islice(pattern, 5))
    except Exception:  # whatever an object does when it is asked for its items
        given = ()
    values = [value for value in map(as_integer, given) if value is not None]
    if len(given) != 4 or len(values) != 4 or min(values) < 1:
        raise ChainError(f"pattern {show_value(pattern)} is not four positive integers (a, b, c, d)")
    checked = Pattern(*values)
    if max(checked.nnz, *checked.shape) > LARGEST:
        raise ChainError(f"pattern {show_value(pattern)} has more than {LARGEST} rows, columns or values")
    return checked


def _cut(chain: Chain, position: Any) -> tuple[Cut, Chain, Chain]:
    """Split a chain; see :meth:`Chain.cut`."""
    ranks = chain._junction_ranks()
    position = read_count(
        "position",
        position,
        most=len(ranks),
        fault=f"is no cut of {chain!r}",
        remedy=f"a chain of {len(chain)} has cuts 1 to {len(ranks)}",
        error=ChainError,
    )
    rank = ranks[position - 1]
    (rows, cols), last, first = chain.shape, chain.patterns[position - 1], chain.patterns[position]
    u, q = last.d, first.a
    left = Chain([(a, b, c, d // u) for a, b, c, d in chain.patterns[:position]])
    right = Chain([(a // q, b, c, d) for a, b, c, d in chain.patterns[position:]])
    return Cut(rows // u, u, q, cols // q, rank), left, right


_cut_once = functools.lru_cache(maxsize=1024)(_cut)
"""The same, remembered: a plan asks for every cut of a chain many times."""
