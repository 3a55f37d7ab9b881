"""Compiled multiplication by a chain of factors: needs Numba.

:func:`pack` and :func:`multiply` stand in for those of :mod:`dbutterfly.kernels.products.packed`; their results agree
with those up to rounding. A factor of pattern ``(a, b, c, d)`` is ``a*d`` small matrices; matrix ``(ia, id)`` has the
*slot* ``ia*d + id``. 64 slots are a *bundle*, which holds its values in one run of memory::

    bundle 0: slots 0 .. 63                                      bundle 1: slots 64 .. 127
    [ib = 0, ic = 0: re x 64, im x 64][ib = 0, ic = 1: ...] ...  [ib = 0, ic = 0: ...] ...

so that a product reads all values once, in order. Neighbouring factors make a *segment*, and a segment is one pass over
the vector. Factors of 2 x 2 matrices stay apart in their segment, as *layers* of a network of butterflies, which stores
half of their values (:mod:`.layers`). Other factors of a segment are multiplied together (:mod:`.dense`)::

    Z = X_1 X_2 X_3 X_4   X_5 X_6   X_7 X_8 X_9 X_10     factors
        ---- segment ---  -segment- ----- segment ----   one pass over the vector each
        4 layers          1 matrix  4 layers

There are two kinds of product:

- one column: the innermost loops run over the slots of a bundle, each with values of its own. The rows that a bundle
  multiplies are laid out like its values, in a buffer that stays in the first-level cache; there, orderings, conjugates
  and the transposition of short runs cost next to nothing;
- many columns: the innermost loops run over 32 columns, which share their values. Between the segments, real and
  imaginary parts of a row lie apart; the first segment takes them apart, and the last one puts them together.
"""

from ...compiler import DISABLED, cache_directory
from .loops import loops_of
from .multiplying import multiply
from .packing import JitPacked, count_values, pack
from .sizes import SLOTS

__all__ = ["DISABLED", "SLOTS", "JitPacked", "cache_directory", "count_values", "loops_of", "multiply", "pack"]
