"""Advice as a value: a row for each pair of orderings and rank, the best of them, and what else would serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ...planning.other_forms import OtherForm
from ...structure.chain import Chain
from ...structure.chain_names import chain_for
from ...structure.orderings import Orderings
from ...structure.weights import Weights
from ..results.verdict import Verdict
from .pairs import OrderingPair

__all__ = ["Advice", "AdviceRow"]


class AdviceRow(NamedTuple):
    """What a chain would make of a matrix in some orderings.

    Attributes
    ----------
    rows, cols : {"none", "bitreversal", "points"}
        Ordering of each side.
    rank : int
        Highest rank of a cut.
    error : float
        Predicted relative error in the Frobenius norm: within a factor of about two of the bound of the certificate.
    values : int
        Numbers that the factors store.
    smaller : float
        Entries of the matrix over values.
    nbytes : int
        Bytes of the factors.
    seconds : float
        Predicted time of the run, if 1 GB/s are read; NaN where no plan fits the memory.
    chain : Chain
        Patterns of the factors.
    """

    rows: str
    cols: str
    rank: int
    error: float
    values: int
    smaller: float
    nbytes: int
    seconds: float
    chain: Chain

    @property
    def orderings(self) -> str:
        """Both orderings, as ``--orderings`` of the command line takes those that are names."""
        return f"{self.rows},{self.cols}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self._asdict(), "chain": [list(pattern) for pattern in self.chain]}


@dataclass(frozen=True, eq=False, kw_only=True)
class Advice:
    """How a matrix may be factorized, from a few of its blocks. ``print(advice)`` shows the table.

    Attributes
    ----------
    name : str
        Name of the matrix.
    shape : (int, int)
        Its rows and columns.
    dtype : str
        Dtype in which it is computed.
    rows : tuple of AdviceRow
        For each pair of orderings and rank, the chain with the fewest values of those that fit about as well as any;
        pair by pair, the best pair first.
    best : AdviceRow or None
        The row to take: with a tolerance, that of the fewest values which reaches it, or the least error. None where no
        chain has fewer values than the matrix.
    fits : bool
        Whether it is worth taking.
    others : tuple of OtherForm
        What else would hold the matrix, smallest first.
    tol : float or None
        Relative error that was asked for.
    bytes_read : int
        Bytes of the matrix that were looked at.
    bytes_allowed : int
        Bytes that might have been.
    blocks : int
        Blocks that were looked at.
    seconds : float
        Time that it took.
    pairs : tuple of OrderingPair
        The orderings that were compared.
    weights : Weights or None
        Weights of rows and columns, by which errors count.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    rows: tuple[AdviceRow, ...]
    best: AdviceRow | None
    fits: bool
    others: tuple[OtherForm, ...]
    tol: float | None
    bytes_read: int
    bytes_allowed: int
    blocks: int
    seconds: float
    pairs: tuple[OrderingPair, ...]
    weights: Weights | None = None

    @property
    def verdict(self) -> Verdict:
        """What there is to say, and whether it is that nothing fits."""
        from .text import verdict_of

        return verdict_of(self)

    @property
    def orderings(self) -> Orderings | None:
        """Orderings of the best row for its chain; None where there is no row."""
        if self.best is None:
            return None
        return self.pair_of(self.best).orderings.for_chain(self.best.chain)

    def pair_of(self, row: AdviceRow) -> OrderingPair:
        """Orderings of a row."""
        return next(pair for pair in self.pairs if (pair.rows, pair.cols) == (row.rows, row.cols))

    def arguments(self, row: AdviceRow | None = None) -> dict[str, Any]:
        """Arguments with which :func:`dbutterfly.factorize` does what a row says.

        Parameters
        ----------
        row : AdviceRow, optional
            By default the best one.

        Returns
        -------
        dict
            ``orderings`` and ``points`` where they are not the standard ones, ``weights`` if there are some, and
            ``tol``, ``rank`` or ``chain``.
        """
        row = self.best if row is None else row
        weights = {} if self.weights is None else {"weights": self.weights}
        if row is None:
            return weights
        return {**self.pair_of(row).arguments, **weights, **self._chain_arguments(row)}

    def _chain_arguments(self, row: AdviceRow) -> dict[str, Any]:
        if self.tol is not None and row.error <= self.tol:
            return {"tol": self.tol}
        if row.chain == chain_for(None, self.shape, row.rank):
            return {} if row.rank == 1 else {"rank": row.rank}
        return {"chain": row.chain}

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the points."""
        return {
            "matrix": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "tol": self.tol,
            "fits": self.fits,
            "verdict": self.verdict.text,
            "best": None if self.best is None else self.best.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "others": [form._asdict() for form in self.others],
            "blocks": self.blocks,
            "bytes_read": self.bytes_read,
            "bytes_allowed": self.bytes_allowed,
            "seconds": self.seconds,
        }

    def __repr__(self) -> str:
        rows, cols = self.shape
        if self.best is None:
            return f"<Advice for a {rows} x {cols} {self.dtype} matrix: no chain has fewer values>"
        fit = f"{self.best.smaller:.3g} times smaller with error {self.best.error:.2g}" if self.fits else "nothing fits"
        return (
            f"<Advice for a {rows} x {cols} {self.dtype} matrix: {fit}; best orderings {self.best.orderings}, rank "
            f"{self.best.rank}; {self.blocks} blocks looked at>"
        )

    def __str__(self) -> str:
        from .text import format_advice

        return format_advice(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the advice at a prompt of IPython as :func:`print` does."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Show the advice in a notebook: the verdict, and the errors of all rows."""
        from .pictures import advice_html

        return advice_html(self)
