"""What is looked at of every operator before it is trusted: ten products with random vectors.

Three vectors at once, one of them zero, and one vector alone, a sum of the other two, twice, are multiplied by the
operator, and by its adjoint. They show what an inner product of a single pair does not:

    a result in one buffer that all products share     several columns at once are all the same
    products that are added to                         the zero vector has a product
    random products                                    the second product of a vector is not the first
    what is not linear, or not over complex numbers    the product of a sum is not the sum of the products
    operands that are changed in place                 they are other ones afterwards
    masks                                              the product that stands alone has one
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from .probes import CHECK_STREAM, normal_vectors

if TYPE_CHECKING:
    from .operators import OperatorSource

__all__ = ["check_operator"]


UNLIKE = 1e-2
"""Part by which ``<y, Z x>`` and ``<Z^H y, x>`` may differ, and the product of a sum from the sum of products.

Not tuned: operators that solve systems by iteration are inexact, and what is no adjoint or not linear differs by far
more.
"""


class _Products(NamedTuple):
    """A vector and its product, in double precision."""

    vector: NDArray[Any]
    product: NDArray[Any]


def check_operator(source: OperatorSource) -> None:
    """Compare some products of an operator and of its adjoint.

    Raises
    ------
    SourceError
        If a product fails, if there is no adjoint or what there is is not the adjoint, or if products are not linear or
        do not stay what they are; the message names the remedy.
    """
    forward = _check_side(source, adjoint=False)
    try:
        backward = _check_side(source, adjoint=True)
    except SourceError as error:
        if error.__cause__ is None:  # there is one, and its products are not what they must be
            raise
        raise SourceError(
            f"{source.name} cannot be multiplied by its adjoint, of which products are needed as well; define rmatvec "
            f"or rmatmat ({error})"
        ) from error
    with np.errstate(all="ignore"):  # what is too large, or not finite, is named where it is met
        left, right = np.vdot(backward.vector, forward.product), np.vdot(backward.product, forward.vector)
        typical = np.linalg.norm(forward.product) * np.linalg.norm(backward.vector) / source.shape[0] ** 0.5
        unlike = abs(left - right) > UNLIKE * max(float(typical), abs(left))
    if unlike:
        raise SourceError(
            f"{source.name}: rmatvec is not the adjoint of matvec: <y, Z x> = {left:.6g} but <Z^H y, x> = {right:.6g} "
            "for random x and y; the adjoint of a complex operator conjugates"
        )


def _check_side(source: OperatorSource, *, adjoint: bool) -> _Products:
    """Check the products of an operator, or of its adjoint, with each other; return one of them."""
    name, multiply = ("rmatvec", source.backward) if adjoint else ("matvec", source.forward)
    vectors = normal_vectors(0, CHECK_STREAM, 1 + adjoint, (source.shape[0 if adjoint else 1], 3), source.dtype)
    vectors[:, 0] = 0
    weight = source.dtype.type(0.5j if source.dtype.kind == "c" else -0.5)
    operands = vectors.copy(), vectors[:, 1] + weight * vectors[:, 2]
    at_once = multiply(operands[0])
    alone, again = (source.single(operands[1].copy(), adjoint=adjoint) for _ in range(2))
    if not np.array_equal(operands[0], vectors):
        raise SourceError(f"{source.name}: {name} changes the vectors that it is given; let it work on a copy of them")
    wide = np.result_type(source.dtype, np.float64)
    (of_zero, first, second), alone = at_once.astype(wide).T, alone.astype(wide)
    with np.errstate(all="ignore"):
        typical = float(np.linalg.norm(first) + abs(weight) * np.linalg.norm(second))
        constant = float(np.linalg.norm(of_zero))
        rounding = np.finfo(source.dtype).eps ** 0.5 * typical  # more than other orders of sums can make
        random = float(np.linalg.norm(again.astype(wide) - alone))
        change = float(np.linalg.norm(alone - (first + weight * second)))
        same = np.array_equal(first, second)
    if same and typical > 0:
        raise SourceError(
            f"{source.name}: {name} gives the same product for any vector: it seems to return one array each time, "
            "which the next product changes; return a copy of it"
        )
    if constant > rounding:
        raise SourceError(
            f"{source.name}: {name} of the zero vector is not zero but has norm {constant:.3g}; the products of "
            "a linear operator have nothing added, constant or random, and are new arrays, or copies"
        )
    if random > rounding:
        raise SourceError(
            f"{source.name}: {name} of the same vector differs by {random:.3g} the second time, where products have "
            f"norm {typical:.3g}; it must give a vector the same product each time: let nothing in it be random"
        )
    if change > UNLIKE * typical:
        raise SourceError(
            f"{source.name}: {name} is not linear: the product of a sum differs by {change:.3g} from the sum of the "
            f"products, which have norm {typical:.3g}; it must give a vector the same product each time, be linear "
            "(over complex numbers if it is complex), and return a new array, or a copy, each time"
        )
    return _Products(vectors[:, 1].astype(wide), first)
