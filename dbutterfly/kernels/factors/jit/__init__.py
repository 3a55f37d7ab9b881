"""Compiled products of a node of :mod:`dbutterfly.kernels.factors.hierarchy`: needs Numba.

Blocks are small there, and a call of BLAS for each of them takes longer than its arithmetic.
"""

from ...compiler import DISABLED
from .loops import loops_of
from .nodes import multiply_loop, project_loop

__all__ = ["DISABLED", "loops_of", "multiply_loop", "project_loop"]
