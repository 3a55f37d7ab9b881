"""Unknown orderings: the row and column trees of a butterfly matrix, found from its entries alone.

For every cut of the chain, rows and columns of ``Z = P X Q^T`` fall into equal groups whose blocks have low rank, and
the groups of all cuts form one tree of the rows and one of the columns. The way from a matrix to its orderings::

    matrix --attempts side by side--> orders of rows and columns --verdict--> IdentifiedOrderings
      |        portfolio, attempts          ^            residuals, evidence     result
      |                                     |            verdict, confidence
      |                                     |
      +------panels, pass by pass-----------+     of a matrix that is large, or that does not fit (search)
               panels/

    an attempt:   starts --descent--> groups of one cut --parts--> smaller cuts --polish, exchanges--> trees
                  one_cut/                                 trees/

Groups are numbers and small arrays on the host. What costs products with the matrix are kernels
(:mod:`dbutterfly.kernels.grouping`).
"""
