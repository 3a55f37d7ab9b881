r"""How well chains fit a matrix, predicted from blocks of their cuts that are sampled inside a window.

A product of a chain has blocks of low rank at every cut, under the orderings of the chain. Let ``e_l^2`` be the energy
that the blocks of the cut l leave beyond the rank of the chain, as a part of the energy of the matrix. The squared
error of a product lies between the largest ``e_l^2``, where every cut leaves the same noise, and what all of them leave
together, ``1 - prod_l (1 - e_l^2)``, where each leaves a part of its own. It is predicted by a mean of the two,
weighted by how flat the singular values are: ``f = sum_l e_l(r_l + 1)^2 / sum_l n_l e_l(r_l)^2``, where n_l is this
ratio of a block of noise, with p rows and v columns: ``(1 - 1/(p - r_l)) (1 - 1/(v - r_l))``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..sources.windows import Window
from ..structure.axes import axes_of_cut
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.padding import place
from ..structure.point_orderings import PointOrderings
from .block_energies import CutEnergies, WindowSpentError, sample_energies

__all__ = ["HIGHEST_RANK", "FitSampler"]

SIDES = (48, 128)
"""Rows and columns of a block that are read at most, four of them for each rank that is judged. Not tuned."""

HIGHEST_RANK = SIDES[-1] // 4
"""Highest rank of a cut that is judged."""

CUTS = 5
"""Cuts of a chain that are sampled at most; another one counts as the nearest of them. Not tuned."""

WHOLE = 1 - 1e-12
"""Most that a cut leaves in the product of what cuts capture, which is taken by logarithms."""


class FitSampler:
    """Samples blocks of cuts, each cut once, and predicts errors of chains from them.

    Parameters
    ----------
    window : Window
        What of the matrix is looked at.
    seed : int
        Seed of the choice of blocks. A cut has the same sample whatever was sampled before.
    """

    def __init__(self, window: Window, seed: int = 0) -> None:
        self.window, self.seed = window, seed
        self._known: dict[tuple[Any, ...], CutEnergies | None] = {}
        self._kept: list[Any] = []  # so that no other object takes the place of one by which a cut is known

    @property
    def blocks(self) -> int:
        """Blocks that were sampled."""
        return sum(found.blocks for found in self._known.values() if found is not None)

    @property
    def energy(self) -> float:
        """Mean energy of an entry: of all that the window has, or of all blocks that were sampled."""
        if self.window.energy is not None:
            return self.window.energy
        found = [each.energy for each in self._known.values() if each is not None]
        return float(np.mean(found)) if found else 0.0

    def predict_error(self, chain: Chain, orderings: Orderings | PointOrderings) -> float | None:
        """Predict the relative error of a product of a chain.

        Parameters
        ----------
        chain : Chain
            A dense chain of two factors or more, on which the matrix has its place.
        orderings : Orderings or PointOrderings
            Orderings that bring the matrix to standard order; the same object for every chain, as cuts are known by it.

        Returns
        -------
        float or None
            At most 1. None where the window has too little of the blocks of every cut, or no more may be read.

        Raises
        ------
        NonFiniteError
            If a NaN or an infinity is met.
        """
        ranks = chain.ranks
        assert ranks is not None
        found: dict[int, CutEnergies] = {}
        for position in np.unique(np.round(np.linspace(1, len(chain) - 1, CUTS)).astype(np.int64)).tolist():
            try:
                energies = self._energies(chain, position, orderings)
            except WindowSpentError:
                return None  # the cuts that were not sampled may be those that leave most
            if energies is not None and ranks[position - 1] <= energies.most_rank:
                found[position] = energies
        if not found:
            return None
        nearest = [found[min(found, key=lambda place: abs(place - at))] for at in range(1, len(chain))]
        energy = self.energy
        parts = [cut.part_beyond(rank, energy) for cut, rank in zip(nearest, ranks, strict=True)]
        told = [
            (cut.part_beyond(rank + 1, energy), part * cut.noise_kept(rank))
            for cut, rank, part in zip(nearest, ranks, parts, strict=True)
            if rank < cut.most_rank
        ]
        return _combine(parts, sum(further for further, _ in told), sum(of_noise for _, of_noise in told))

    def _energies(self, chain: Chain, position: int, orderings: Orderings | PointOrderings) -> CutEnergies | None:
        """Sample a cut, unless that was done."""
        cut, _, _ = chain.cut(position)
        side = SIDES[0] if 4 * cut.rank <= SIDES[0] else SIDES[1]
        key = id(orderings), chain.shape, cut.row_groups, cut.col_groups, side
        if key not in self._known:
            self._kept.append(orderings)
            placed = place(orderings.for_chain(chain), self.window.source.shape, chain)
            rows, cols = axes_of_cut(chain, position, placed, (None, None))
            rng = np.random.default_rng((self.seed, cut.row_groups, cut.col_groups))
            self._known[key] = sample_energies(self.window, rows, cols, side, rng)
        return self._known[key]


def _combine(parts: list[float], further: float, of_noise: float) -> float:
    """Predict an error from the parts of the energy beyond the ranks of all cuts.

    ``further`` is what cuts leave beyond the next ranks, and ``of_noise`` what they would leave there, were it noise.
    """
    largest = max(parts)
    together = -math.expm1(sum(math.log1p(-min(part, WHOLE)) for part in parts))
    flat = min(further / of_noise, 1.0) if of_noise > 0 else 0.0
    return math.sqrt(min(largest + (1 - flat) * max(together - largest, 0.0), 1.0))
