"""Unknown orderings: the row and column trees of a butterfly matrix, found from its entries alone.

For every cut of the chain, rows and columns of ``Z = P X Q^T`` fall into equal groups whose blocks have low rank, and
the groups of all cuts form one tree of the rows and one of the columns. The way from a matrix to its orderings::

    matrix --attempts side by side--> orders of rows and columns --verdict--> IdentifiedOrderings
               portfolio, attempts                                  verdict
      |                                            ^
      +----panels, pass by pass--> one cut, parts--+           what is large, or does not fit (matrix_search)
               passes, spreading       streamed

    an attempt:   starts --descent--> groups of one cut --parts--> smaller cuts ... --polish, exchanges--> trees
                  clusters, pairs     search                       nested

Groups are numbers and small arrays on the host; what costs products with the matrix are kernels
(:mod:`dbutterfly.kernels.grouping.groups`, ``panels``, ``similarity``, ``pairs``).
"""

from .identification import are_unknown, identify, is_unknown
from .result import IdentifiedOrderings, Trees

__all__ = ["IdentifiedOrderings", "Trees", "are_unknown", "identify", "is_unknown"]
