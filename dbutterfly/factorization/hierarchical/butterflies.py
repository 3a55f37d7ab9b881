"""Fit a large block away from the diagonal by a butterfly, where its rank grows with its size.

Blocks of oscillatory kernels are no longer of low rank where they are many wavelengths wide, but their parts are. The
chain is looked for once for all blocks of a size, which look alike: the search takes ten times as long as a fit.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...kernels.backend import Backend
from ...operator.block_factors import BlockFactors
from ...planning.budget import Budget
from ...planning.search import make_plan
from ...planning.tolerance import chain_for_tolerance
from ...sources.arrays import ArraySource
from ...structure.chain import Chain
from ...structure.padding import show_gaps
from ...structure.point_orderings import PointOrderings
from ...structure.points import Points
from ..stacked.fit import fit_matrices
from ..stacked.outcomes import Outcome
from .fitted import FittedBlock

__all__ = ["HIGH_RANK", "SMALLEST", "Butterflies"]

SMALLEST = 512
"""Least rows and columns of a block that is tried as a butterfly.

Measured on blocks of the Helmholtz kernel on a circle, ten points to a wavelength, 1e-6: of 512, 1024 and 2048 rows at
ranks 31, 58 and 70, a butterfly has .58, .46 and .27 times the values; the search for its chain takes .2 to 1.5 s. The
whole matrix takes 78 MB and 3.3 s without butterflies at N = 8192, and 58 MB and 4.9 s with them."""

HIGH_RANK = 40
"""Rank of a block from which it is tried as a butterfly.

Measured on the matrix of :data:`SMALLEST`, N = 4096: with 16 of the blocks of ranks 28 to 31 as butterflies it took 28
in place of 31 MB, and 4.7 in place of 1.1 s, most of it for the search of two chains."""

HELD = 8
"""Memory of a fit over that of the block that it is planned with. Not tuned: it only keeps the plan from tiles."""


class Butterflies:
    """Fits of blocks by butterflies, with the chains that were found for those before.

    Parameters
    ----------
    backend : Backend
        Array library.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._chains: dict[tuple[int, int], Chain | None] = {}

    def fit(
        self,
        entries: NDArray[Any],
        spans: tuple[tuple[int, int], tuple[int, int]],
        allowed: float,
        energy: float,
        fewer: float,
    ) -> FittedBlock | None:
        """Fit a block.

        Parameters
        ----------
        entries : array, shape (m, n)
            The block, on the host.
        spans : pair of (int, int)
            Its positions.
        allowed : float
            Squared error that may be left.
        energy : float
            Energy of the block.
        fewer : float
            Number of values of which a butterfly has to have fewer.

        Returns
        -------
        FittedBlock or None
            None where no chain that is tried reaches this.
        """
        rows, cols = entries.shape
        if not 0 < allowed < energy:
            return None
        points = Points(np.arange(float(rows)), np.arange(float(cols)))
        orderings, source = PointOrderings(points), ArraySource(np.ascontiguousarray(entries))
        for is_known in (True, False):
            if not is_known or entries.shape not in self._chains:
                self._chains[entries.shape] = self._find(source, orderings, math.sqrt(allowed / energy))
            chain = self._chains[entries.shape]
            if chain is None or chain.nnz >= fewer:
                return None
            found = self._fit(source, orderings, chain, spans, energy)
            if found is not None and found.error <= allowed:
                return found
        return None

    @staticmethod
    def _find(source: ArraySource, orderings: PointOrderings, tol: float) -> Chain | None:
        with contextlib.suppress(InputError):  # none that is smaller than the matrix
            return chain_for_tolerance(source, tol, orderings).chain
        return None

    def _fit(
        self,
        source: ArraySource,
        orderings: PointOrderings,
        chain: Chain,
        spans: tuple[tuple[int, int], tuple[int, int]],
        energy: float,
    ) -> FittedBlock | None:
        """Fit by a chain, with the errors that are proven."""
        rows, cols = source.shape
        budget = Budget(max(HELD * rows * cols * source.dtype.itemsize, 1 << 30))
        plan = make_plan(source.info, chain, orderings=orderings.for_chain(chain), passes=2, budget=budget)
        found = fit_matrices(source.read_block(slice(0, rows), slice(0, cols))[None], plan, self._backend)
        certificate = Outcome(*found.outcomes[0]).certificate(None)
        if certificate is None:
            return None
        shown = show_gaps(plan.orderings, source.shape, chain)
        factors = BlockFactors(*spans, tuple(values[0] for values in found.factors), shown)
        error, lower = ((bound * certificate.norm) ** 2 for bound in (certificate.error_bound, certificate.lower_bound))
        return FittedBlock(factors, energy, error, lower, 0.0, np.zeros(0))
