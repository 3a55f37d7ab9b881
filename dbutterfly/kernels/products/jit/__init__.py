"""Compiled multiplication by a chain of factors: needs Numba.

:func:`pack` and :func:`multiply` are those of :mod:`dbutterfly.kernels.products.packed`, with the same results up to
rounding. A factor of pattern ``(a, b, c, d)`` is ``a*d`` small matrices; matrix ``(ia, id)`` is *lane* ``ia*d + id``,
and 64 lanes are a *panel*, which holds its values in one run of memory::

    panel 0                                                      panel 1
    [ib = 0, ic = 0: re x 64, im x 64][ib = 0, ic = 1: ...] ...  [ib = 0, ic = 0: ...] ...

so that a product reads all values once, in order. Neighbouring factors make a *group*, and a group is one pass over the
vector. Factors of 2 x 2 matrices stay apart in their group, as stages of a network of butterflies, with half of their
values (:mod:`.stages`); others are multiplied together (:mod:`.dense`). There are two kinds of product:

- one column: the innermost loops run over the lanes of a panel, each with values of its own. What the panel multiplies
  is laid out like its values, in a buffer that stays in the first-level cache; there, orderings, conjugates and the
  transposition of short runs cost next to nothing;
- many columns: the innermost loops run over 32 columns, which share their values. Between the groups, real and
  imaginary parts of a row lie apart; the first group takes them apart, and the last one puts them together.
"""

from .compiler import DISABLED, LANES
from .multiplying import multiply
from .packing import JitPacked, count_values, pack

__all__ = ["DISABLED", "LANES", "JitPacked", "count_values", "multiply", "pack"]
