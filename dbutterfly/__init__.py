"""Certified butterfly factorization of matrices too big for one machine.

``factorize`` is the main job: a matrix in, factors and a certificate out, on threads or on a Dask cluster. ``plan``
says beforehand what it will cost, ``verify`` measures the result against the matrix, ``prove`` shows how near it is to
the best one, and ``open`` brings a stored result back. ``advise`` says beforehand which orderings and rank fit, if any,
and ``identify`` finds the orderings of rows and columns where nobody knows them.

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

import importlib
from typing import TYPE_CHECKING, Any

from .execution import early_interrupts  # noqa: F401  # before all others

if TYPE_CHECKING:
    from . import errors, matrices
    from .execution import clusters
    from .factorization.advice.advise import advise
    from .factorization.advice.result import Advice
    from .factorization.factorize import factorize
    from .factorization.plan import plan
    from .factorization.proof.prove import prove
    from .factorization.results.certificate import Certificate
    from .factorization.results.estimates import VerifiedError
    from .factorization.results.factorization import Factorization
    from .factorization.results.hierarchical import HierarchicalFactorization
    from .factorization.results.opening import open_result as open
    from .factorization.results.stacked import StackedFactorization
    from .factorization.results.verified_stack import VerifiedStack
    from .factorization.verify import verify
    from .identification.identify import identify
    from .identification.result import IdentifiedOrderings
    from .operator.butterfly import ButterflyOperator
    from .operator.hierarchical import HierarchicalOperator
    from .operator.stacked import StackedOperator
    from .operator.streamed_product import StreamedProduct
    from .operator.streaming import stream_product
    from .planning.hierarchical_plan import HierarchicalPlan
    from .planning.plan import Plan
    from .planning.stacked_plan import StackedPlan
    from .sources.entries import Entries, entries
    from .structure.chain import Chain, Pattern
    from .structure.orderings import Orderings
    from .structure.points import Points

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "ButterflyOperator",
    "Certificate",
    "Chain",
    "Entries",
    "Factorization",
    "HierarchicalFactorization",
    "HierarchicalOperator",
    "HierarchicalPlan",
    "IdentifiedOrderings",
    "Orderings",
    "Pattern",
    "Plan",
    "Points",
    "StackedFactorization",
    "StackedOperator",
    "StackedPlan",
    "StreamedProduct",
    "VerifiedError",
    "VerifiedStack",
    "__version__",
    "advise",
    "clusters",
    "entries",
    "errors",
    "factorize",
    "identify",
    "matrices",
    "open",
    "plan",
    "prove",
    "stream_product",
    "verify",
]

_PLACES = {
    "Advice": "factorization.advice.result:Advice",
    "ButterflyOperator": "operator.butterfly:ButterflyOperator",
    "Certificate": "factorization.results.certificate:Certificate",
    "Chain": "structure.chain:Chain",
    "Entries": "sources.entries:Entries",
    "Factorization": "factorization.results.factorization:Factorization",
    "HierarchicalFactorization": "factorization.results.hierarchical:HierarchicalFactorization",
    "HierarchicalOperator": "operator.hierarchical:HierarchicalOperator",
    "HierarchicalPlan": "planning.hierarchical_plan:HierarchicalPlan",
    "IdentifiedOrderings": "identification.result:IdentifiedOrderings",
    "Orderings": "structure.orderings:Orderings",
    "Pattern": "structure.chain:Pattern",
    "Plan": "planning.plan:Plan",
    "Points": "structure.points:Points",
    "StackedFactorization": "factorization.results.stacked:StackedFactorization",
    "StackedOperator": "operator.stacked:StackedOperator",
    "StackedPlan": "planning.stacked_plan:StackedPlan",
    "StreamedProduct": "operator.streamed_product:StreamedProduct",
    "VerifiedError": "factorization.results.estimates:VerifiedError",
    "VerifiedStack": "factorization.results.verified_stack:VerifiedStack",
    "advise": "factorization.advice.advise:advise",
    "clusters": "execution.clusters",
    "entries": "sources.entries:entries",
    "errors": "errors",
    "factorize": "factorization.factorize:factorize",
    "identify": "identification.identify:identify",
    "matrices": "matrices",
    "open": "factorization.results.opening:open_result",
    "plan": "factorization.plan:plan",
    "prove": "factorization.proof.prove:prove",
    "stream_product": "operator.streaming:stream_product",
    "verify": "factorization.verify:verify",
}
"""Module of every public name, which is imported when the name is first used, and what the module calls it.

A program that asks for the version, or a worker that unpickles one class, then waits for nothing else. The package
lazy_loader, which does this for others, knows neither ``open``, whose name in its module is another, nor ``clusters``,
which is a package in a room.
"""

if not TYPE_CHECKING:  # for types, a name that is not there is an error

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, attribute = _PLACES[name].partition(":")
        found = importlib.import_module(f".{module}", __name__)
        globals()[name] = value = getattr(found, attribute) if attribute else found
        return value

    def __dir__() -> list[str]:
        """Public names, also those that were not used yet."""
        return sorted(__all__)
