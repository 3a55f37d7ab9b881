"""Certified butterfly factorization of matrices too big for one machine.

``factorize`` is the main job: a matrix in, factors and a certificate out, on threads or on a Dask cluster. ``plan``
says beforehand what it will cost, ``verify`` measures the result against the matrix, and ``open`` brings a stored
result back. ``identify`` finds the orderings of rows and columns where nobody knows them.

The data goes one way::

    source --plan--> tiles --rank r per block--> A, B --regroup in the store--> groups --recursion--> factors
                                                                                                         |
                                          ButterflyOperator, verify, report  <--  Factorization  <-------+

Every name below is a folder, and ``errors`` a module. Imports go down this list only; names on one line do not know
each other::

    cli                                     the command line
    factorization                           the main job: request, run, result
    identification | operator | matrices    unknown orderings | the linear operator | known matrices
    execution                               where and how tasks run: threads, Dask, clusters
    planning                                integers: what a run will cost, and the search for the cheapest
    sources                                 matrices to read, behind one interface
    kernels                                 arrays in, arrays out, in any array library
    storage | structure                     what a run keeps, and where | integers: chains, trees, orderings, sides
    errors                                  every error and warning that is raised on purpose
"""

from .execution import early_interrupts  # noqa: F401  # before all others

# isort: split
from . import errors, matrices
from .execution import clusters
from .factorization.factorize import factorize, plan
from .factorization.results.certificate import Certificate
from .factorization.results.estimates import VerifiedError
from .factorization.results.factorization import Factorization
from .factorization.results.factorization import open_factorization as open
from .factorization.verify import verify
from .identification.identify import identify
from .identification.result import IdentifiedOrderings
from .operator.butterfly import ButterflyOperator
from .operator.streaming import StreamedProduct, stream_product
from .planning.plan import Plan
from .sources.entries import Entries, entries
from .structure.chain import Chain, Pattern
from .structure.orderings import Orderings

__version__ = "0.1.0"

__all__ = [
    "ButterflyOperator",
    "Certificate",
    "Chain",
    "Entries",
    "Factorization",
    "IdentifiedOrderings",
    "Orderings",
    "Pattern",
    "Plan",
    "StreamedProduct",
    "VerifiedError",
    "__version__",
    "clusters",
    "entries",
    "errors",
    "factorize",
    "identify",
    "matrices",
    "open",
    "plan",
    "stream_product",
    "verify",
]
