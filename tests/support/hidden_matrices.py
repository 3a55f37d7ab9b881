"""Matrices whose rows and columns were shuffled."""

from __future__ import annotations

import numpy as np

import dbutterfly as dbf

M = dbf.matrices


def hidden(matrix, noise, seed=0):
    """A shuffled matrix with noise, and its true orderings."""
    z = M.shuffled(matrix, seed=seed + 1)
    truth = z.orderings
    return np.asarray(M.noisy(z, noise, seed=seed + 2) if noise else z), truth
