"""Compiled approximation of blocks: needs Numba.

The loops take one block of a stack after the other, which stays in the cache of a core, without the interpreter lock:
threads do not wait for each other, and small blocks cost no calls. Their results agree with those of the plain kernels
up to rounding, and depend neither on the stack nor on the thread. Blocks that a loop leaves open go through the plain
kernels.
"""

from ...compiler import DISABLED
from .loops import loops_of
from .rank_one import round_loop
from .subspaces import subspace_loop

__all__ = ["DISABLED", "loops_of", "round_loop", "subspace_loop"]
