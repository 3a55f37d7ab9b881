"""Factors and certificates of matrices of a stack that share a chain and orderings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...operator.butterfly import ButterflyOperator
from ...operator.stacked import OperatorBatch, block_orderings
from ...structure.axes import Index
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.tree import Tree
from ...structure.weights import Weights
from .certificate import Certificate
from .factorization import Factorization

__all__ = ["IMPROVED", "FactorizedBatch"]

IMPROVED = ("sweeps", "starts", "gradient", "proof")
"""Entries of the record of a matrix that sweeps and proofs leave."""


@dataclass(frozen=True, eq=False)
class FactorizedBatch:
    """Factors of matrices that share a chain and orderings.

    Attributes
    ----------
    numbers : array of int, shape (n,)
        Which matrices of the stack.
    ks_values : tuple of ndarray, shapes (n, a, b, c, d)
        Their factors, left to right.
    chain : Chain
        Patterns of the factors of one of them.
    tree : nested tuple
        Where the chain was cut.
    orderings : Orderings
        Orderings of each of them.
    certificates : tuple of Certificate
        Certificate of each.
    cuts : array, shape (n, J - 1)
        Error of every cut of each.
    records : tuple of dict
        What sweeps and proofs have left of each; empty where none were made, and no error is an estimate.
    """

    numbers: Index
    ks_values: tuple[NDArray[Any], ...]
    chain: Chain
    tree: Tree
    orderings: Orderings
    certificates: tuple[Certificate, ...]
    cuts: NDArray[np.float64]
    records: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of_one(cls, number: int, found: Factorization) -> FactorizedBatch:
        """Batch of one matrix."""
        improved = {name: found.record[name] for name in IMPROVED if name in found.record}
        return cls(
            np.array([number]),
            tuple(values[None] for values in found.ks_values),
            found.chain,
            found.tree,
            found.orderings,
            (found.certificate,),
            np.array([found.record.get("errors_by_cut", [0.0] * (len(found.chain) - 1))], np.float64),
            (improved,) if improved or found.certificate.deviation is not None else (),
        )

    def factorization(self, place: int, name: str, weights: Weights | None) -> Factorization:
        """Factorization of one of the matrices, whose factors are views."""
        record = {"errors_by_cut": self.cuts[place].tolist(), "matrix": name}
        record |= self.records[place] if self.records else {}
        factors = tuple(values[place] for values in self.ks_values)
        certificate = self.certificates[place]
        return Factorization(factors, self.chain, self.tree, self.orderings, certificate, record, weights=weights)

    def take(self, places: Index) -> FactorizedBatch:
        """Some of the matrices."""
        if places.size == self.numbers.size:
            return self
        return replace(
            self,
            numbers=self.numbers[places],
            ks_values=tuple(values[places] for values in self.ks_values),
            certificates=tuple(self.certificates[place] for place in places.tolist()),
            cuts=self.cuts[places],
            records=tuple(self.records[place] for place in places.tolist()) if self.records else (),
        )

    def operator(self) -> OperatorBatch:
        """Block diagonal operator of the matrices."""
        joined = [values.reshape(-1, *values.shape[2:]) for values in self.ks_values]
        orderings = block_orderings(self.orderings, self.chain, int(self.numbers.size))
        return OperatorBatch(self.numbers, ButterflyOperator(joined, orderings))
