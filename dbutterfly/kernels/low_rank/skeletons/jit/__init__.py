"""Compiled interpolative decompositions: needs Numba.

The matrices of nested skeletons are small, some tens of rows and columns, and there are many of them. One after the
other stays in the cache of a core, without the interpreter lock. Results agree with those of the plain kernel up to
rounding, and depend neither on the stack nor on the thread.
"""

from ....compiler import DISABLED
from .interpolation import interpolation_loop
from .loops import loops_of

__all__ = ["DISABLED", "interpolation_loop", "loops_of"]
