"""Certified butterfly factorization of matrices too big for one machine.

The way of the data, one direction, through six rooms::

    source  --plan-->  tiles  --rank r per block-->  A, B  --regroup in the store-->  groups  --recursion-->
    ks_values sources.py  plan.py  tasks.py  kernels/low_rank.py      store.py                  kernels/hierarchy.py
    |
                                                                                 ButterflyOperator, certificate --+

``factorize`` runs all of it, on threads or on a Dask cluster; ``plan`` says beforehand what it will cost, ``verify``
measures the result against the matrix, ``open`` brings a stored result back. ``identify`` finds the orderings of rows
and columns where they are not known.
"""

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
