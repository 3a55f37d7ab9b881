"""Random and hostile matrices: whether lower bound, least error known, error and error bound always come in this order.

A case is drawn from its number alone: a shape with sides up to 300, a chain of any kind, ranks 1 to 6, a dtype, a
tree, orderings, reads, and a matrix: of equal singular values, of a falling spectrum, of subnormal numbers, with huge
entries, with rows of every size, a product of the chain itself scaled up or down, and others. The error is measured in
extended precision, in which neither squares nor sums of such entries leave the range. The least error known is the
smallest of those of one read, two reads, sweeps, and of the product from which the matrix was made.

Cases that fail are recorded by their numbers: ``check(draw(number))`` does one again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.errors import DButterflyError
from dbutterfly.kernels.factors.hierarchy import multiply_stack
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import GAP, Orderings
from dbutterfly.structure.padding import show_gaps
from dbutterfly.structure.tree import Tree

from . import harness

CASES = 3000
"""Cases of a full record."""

LARGEST_SIDE = 300

DTYPES = ("float32", "float64", "complex64", "complex128")

REACH = {"float32": 30, "complex64": 30, "float64": 100, "complex128": 100}
"""Powers of ten, up and down, by which rows, columns and products are scaled."""


@dataclass(frozen=True, eq=False)
class Case:
    """A matrix, and how it is factorized.

    Attributes
    ----------
    number : int
        From which all else was drawn.
    kind : str
        Kind of the matrix.
    matrix : array, shape (M, N)
        The matrix.
    arguments : dict
        Arguments of :func:`dbutterfly.factorize`.
    product : array of extended precision or None
        Product of the chain of which the matrix was made by rounding, in the order of the matrix.
    """

    number: int
    kind: str
    matrix: NDArray[Any]
    arguments: dict[str, Any]
    product: NDArray[Any] | None


class Checked(NamedTuple):
    """What came of a case, relative to the norm of the matrix.

    Attributes
    ----------
    lower, best, error, bound : float
        Lower bound, least error known, measured error, and error bound.
    fault : str
        What is wrong; empty if nothing is.
    """

    lower: float
    best: float
    error: float
    bound: float
    fault: str


# ---------------------------------------------------------------- cases


def draw(number: int) -> Case:
    """Draw a case."""
    rng = np.random.default_rng((0xF022, number))
    dtype = np.dtype(DTYPES[number % len(DTYPES)])
    shape, chain = _draw_chain(rng)
    orderings = _draw_orderings(rng, shape, chain)
    kind = KINDS[number // len(DTYPES) % len(KINDS)]
    made = _Made(rng, shape, dtype, chain, orderings)
    with np.errstate(all="ignore"):
        matrix = MATRICES[kind](made)
    arguments: dict[str, Any] = {"chain": chain, "orderings": orderings, "workers": 1}
    if len(chain) > 1:
        arguments |= {"tree": _draw_tree(rng, len(chain)), "passes": int(rng.integers(1, 3))}
    return Case(number, kind, matrix, arguments, made.product)


def _draw_chain(rng: np.random.Generator) -> tuple[tuple[int, int], Chain]:
    """Draw the shape of a matrix, and a chain of it: default, balanced, Monarch, dyadic, or of any digits and ranks."""
    rows, cols = (round(2 ** rng.uniform(1, np.log2(LARGEST_SIDE))) for _ in range(2))
    rank = int(rng.integers(1, 7))
    way = rng.choice(["default", "balanced", "monarch", "dyadic", "digits"], p=[0.3, 0.15, 0.15, 0.1, 0.3])
    if way in ("default", "balanced"):
        shape = (rows, cols)
        return shape, Chain.chainable(shape, min(rank, *shape), balanced=way == "balanced")
    if way == "monarch":
        return (rows, cols), Chain.monarch((rows, cols)).of_rank(min(rank, rows, cols))
    if way == "dyadic":
        size = 2 ** int(rng.integers(1, 9))
        return (size, size), Chain.square_dyadic(size).of_rank(min(rank, size))
    return _draw_digits(rng)


def _draw_digits(rng: np.random.Generator) -> tuple[tuple[int, int], Chain]:
    """Draw digits of both sides, in any order, and a rank for each junction; some sides are a little shorter."""
    count = int(rng.integers(2, 6))
    digits = [[int(rng.integers(1, 6)) for _ in range(count)] for _ in range(2)]
    while any(np.prod(side) > LARGEST_SIDE for side in digits):
        digits = [[max(1, digit - 1) for digit in side] for side in digits]
    chain = Chain.of_digits(*digits, [int(rng.integers(1, 7)) for _ in range(count - 1)])
    shorter = (int(rng.integers(0, max(1, size // 8) + 1)) if rng.random() < 0.2 else 0 for size in chain.shape)
    rows, cols = (max(size - less, size // 2 + 1) for size, less in zip(chain.shape, shorter, strict=True))
    return (rows, cols), chain


def _draw_tree(rng: np.random.Generator, factors: int) -> Tree | str:
    """Draw where a chain is cut."""
    way = rng.choice(["balanced", "left", "right", "any"])
    return _any_tree(rng, 0, factors) if way == "any" else str(way)


def _any_tree(rng: np.random.Generator, first: int, last: int) -> Tree:
    if last - first == 1:
        return first
    at = int(rng.integers(first + 1, last))
    return (_any_tree(rng, first, at), _any_tree(rng, at, last))


def _draw_orderings(rng: np.random.Generator, shape: tuple[int, int], chain: Chain) -> Any:
    """Draw orderings: standard, bit-reversed, or any."""

    def side(size: int, length: int) -> Any:
        way = rng.choice(["standard", "bitreversal", "any"], p=[0.6, 0.2, 0.2])
        if way == "standard" or size != length:
            return None
        return "bitreversal" if way == "bitreversal" else rng.permutation(size)

    return tuple(side(size, length) for size, length in zip(shape, chain.shape, strict=True))


# ---------------------------------------------------------------- matrices


@dataclass(eq=False)
class _Made:
    """What a matrix is made from; the product is kept where there is one."""

    rng: np.random.Generator
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chain: Chain
    orderings: Any
    product: NDArray[Any] | None = field(default=None)

    def normal(self, *shape: int) -> NDArray[Any]:
        """Normal random numbers in double precision, complex where the dtype is."""
        found = self.rng.standard_normal(shape or self.shape)
        return found + 1j * self.rng.standard_normal(found.shape) if self.dtype.kind == "c" else found

    def cast(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """Convert to the dtype; what has left its range becomes half of the largest number."""
        info = np.finfo(self.dtype)
        if self.dtype.kind == "c":
            real, imag = (np.clip(part, info.min / 2, info.max / 2) for part in (matrix.real, matrix.imag))
            return (real + 1j * imag).astype(self.dtype)
        return np.clip(matrix, info.min / 2, info.max / 2).astype(self.dtype)

    def powers(self, size: int) -> NDArray[Any]:
        """Powers of ten of every size."""
        reach = REACH[self.dtype.name]
        return np.longdouble(10) ** self.rng.uniform(-reach, reach, size).astype(np.longdouble)


def _gaussian(made: _Made) -> NDArray[Any]:
    return made.cast(made.normal())


def _orthogonal(made: _Made) -> NDArray[Any]:
    """Equal singular values."""
    rows, cols = made.shape
    basis = np.linalg.qr(made.normal(max(rows, cols), min(rows, cols)))[0]
    return made.cast(basis if rows >= cols else basis.T)


def _permutation(made: _Made) -> NDArray[Any]:
    """Equal singular values of every block, exactly."""
    return made.cast(np.eye(*made.shape)[made.rng.permutation(made.shape[0])])


def _graded(made: _Made) -> NDArray[Any]:
    """A spectrum that falls through all digits."""
    rows, cols = made.shape
    size = min(rows, cols)
    left, right = (np.linalg.qr(made.normal(side, size))[0] for side in (rows, cols))
    return made.cast(left * np.logspace(0, -20, size) @ right.T)


def _repeated(made: _Made) -> NDArray[Any]:
    """Few different rows and columns."""
    few = made.normal(2, 3)
    return made.cast(few[np.ix_(made.rng.integers(0, 2, made.shape[0]), made.rng.integers(0, 3, made.shape[1]))])


def _sparse(made: _Made) -> NDArray[Any]:
    """Few entries, in rows and columns that are zero mostly."""
    return made.cast(made.normal() * (made.rng.random(made.shape) < 0.02))


def _signs(made: _Made) -> NDArray[Any]:
    """Entries of equal modulus, of which sums cancel exactly."""
    return made.cast(made.rng.choice([-1.0, 1.0], made.shape))


def _zeros(made: _Made) -> NDArray[Any]:
    """Nothing, or one entry."""
    matrix = np.zeros(made.shape)
    if made.rng.random() < 0.5:
        matrix[tuple(made.rng.integers(0, made.shape))] = 10.0 ** made.rng.uniform(-30, 30)
    return made.cast(matrix)


def _subnormal(made: _Made) -> NDArray[Any]:
    """Subnormal numbers, of up to all of their digits."""
    info = np.finfo(made.dtype)
    spread = float(info.smallest_subnormal) * 2 ** made.rng.uniform(1, info.nmant)
    return made.cast(made.normal() * np.longdouble(spread))


def _some_subnormal(made: _Made) -> NDArray[Any]:
    """Subnormal rows beside others."""
    matrix = made.cast(made.normal())
    matrix[made.rng.random(made.shape[0]) < 0.5] *= np.finfo(made.dtype).smallest_normal / 8
    return matrix


def _huge(made: _Made) -> NDArray[Any]:
    """All entries near the largest number, but for the room that the norm takes."""
    largest = np.longdouble(np.finfo(made.dtype).max) / (64 * LARGEST_SIDE)
    return made.cast(made.normal() * largest / 8)


def _some_huge(made: _Made) -> NDArray[Any]:
    """A few huge entries beside others."""
    matrix = made.normal().astype(np.clongdouble if made.dtype.kind == "c" else np.longdouble)
    for _ in range(int(made.rng.integers(1, 4))):
        matrix[tuple(made.rng.integers(0, made.shape))] *= made.powers(1)[0]
    return made.cast(matrix)


def _scaled_rows(made: _Made) -> NDArray[Any]:
    """Rows, or columns, of every size."""
    rows, cols = made.shape
    scales = made.powers(rows)[:, None] if made.rng.random() < 0.5 else made.powers(cols)
    return made.cast(made.normal() * scales)


def _scaled(made: _Made) -> NDArray[Any]:
    """Noise of any size."""
    return made.cast(made.normal() * made.powers(1))


def _exact(made: _Made) -> NDArray[Any]:
    """A product of the chain, scaled up or down."""
    return _product_with_noise(made, 0.0)


def _nearly_exact(made: _Made) -> NDArray[Any]:
    """A product of the chain with noise near its rounding, or above, scaled up or down."""
    return _product_with_noise(made, 10 ** made.rng.uniform(-15, -1))


def _product_with_noise(made: _Made, noise: float) -> NDArray[Any]:
    factors = [made.normal(*pattern) for pattern in made.chain]
    if made.rng.random() < 0.3:  # of a lower rank
        factors[0] = np.broadcast_to(factors[0][:, :, :1], factors[0].shape)
    scale = made.powers(1)[0] if made.rng.random() < 0.7 else np.longdouble(1)
    places = show_gaps(Orderings.from_any(made.orderings), made.shape, made.chain)
    product = _in_order_of_matrix(multiply(factors, made.chain), places, made.chain)
    product = product / np.sqrt(np.mean(np.abs(product) ** 2)) * scale
    if noise == 0:
        made.product = product
    return made.cast(product + noise * scale * made.normal())


MATRICES = {
    "gaussian": _gaussian,
    "orthogonal": _orthogonal,
    "permutation": _permutation,
    "graded": _graded,
    "repeated": _repeated,
    "sparse": _sparse,
    "signs": _signs,
    "zeros": _zeros,
    "subnormal": _subnormal,
    "some_subnormal": _some_subnormal,
    "huge": _huge,
    "some_huge": _some_huge,
    "scaled_rows": _scaled_rows,
    "scaled": _scaled,
    "exact": _exact,
    "nearly_exact": _nearly_exact,
}

KINDS = tuple(MATRICES)


# ---------------------------------------------------------------- checks


def multiply(factors: Any, chain: Chain) -> NDArray[Any]:
    """Product of factors in extended precision, in the standard order of the chain."""
    wide = [np.asarray(values).astype(np.result_type(values, np.longdouble))[None] for values in factors]
    tree: Tree = 0
    for last in range(1, len(chain)):
        tree = (tree, last)
    found: NDArray[Any] = multiply_stack(wide, chain, tree)[0]
    return found


def _in_order_of_matrix(product: NDArray[Any], orderings: Orderings, chain: Chain) -> NDArray[Any]:
    """Product in the order of the matrix, without gaps."""
    for axis, order in enumerate(orderings.permutations(chain)):
        if order is not None:
            there = np.flatnonzero(order != GAP)
            product = np.take(product, there[np.argsort(order[there])], axis=axis)
    return product


def relative_error(matrix: NDArray[Any], product: NDArray[Any]) -> float:
    """Relative Frobenius error in extended precision."""
    wide = matrix.astype(np.result_type(matrix, np.longdouble))
    norm, error = (np.sqrt(np.sum(np.abs(part) ** 2)) for part in (wide, wide - product))
    return float(error / norm) if norm else (0.0 if error == 0 else np.inf)


def error_of(found: dbf.Factorization, matrix: NDArray[Any]) -> float:
    """Relative Frobenius error of the product of the factors, formed in extended precision."""
    product = multiply(found.ks_values, found.chain)
    return relative_error(matrix, _in_order_of_matrix(product, found.orderings, found.chain))


def check(case: Case) -> Checked:
    """Factorize a case in several ways, and compare bounds and errors."""
    try:
        found = dbf.factorize(case.matrix, **case.arguments)
        others = [dbf.factorize(case.matrix, **{**case.arguments, **more}) for more in _other_ways(case)]
        verified = float(dbf.verify(found, case.matrix, workers=1))
    except DButterflyError as error:
        return Checked(0.0, 0.0, 0.0, 0.0, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Checked(0.0, 0.0, 0.0, 0.0, f"not named: {type(error).__name__}: {error}")
    errors = [error_of(each, case.matrix) for each in (found, *others)]
    best = min(errors) if case.product is None else min(*errors, relative_error(case.matrix, case.product))
    certificate, formed = found.certificate, relative_error(case.matrix, found.operator.to_dense())
    rounding = 1e3 * float(np.finfo(found.dtype).eps) * len(found.chain) * found.chain.rank
    faults = [
        f"error {error} above bound {each.certificate.error_bound} ({way})"
        for error, each, way in zip(errors, (found, *others), ("given", "two reads", "swept"), strict=False)
        if not error <= each.certificate.error_bound
    ]
    if not formed <= certificate.error_bound:
        faults.append(f"error {formed} of the product as it is formed above bound {certificate.error_bound}")
    lower = max(each.certificate.lower_bound for each in (found, *others))
    if not lower <= best:
        faults.append(f"lower bound {lower} above {best}")
    if not abs(verified - errors[0]) <= rounding + 1e-3 * errors[0]:
        faults.append(f"verified {verified}, measured {errors[0]}")
    if any(values.dtype != case.matrix.dtype for values in found.ks_values):
        faults.append(f"factors of {found.dtype}")
    return Checked(certificate.lower_bound, best, errors[0], certificate.error_bound, "; ".join(faults))


def _other_ways(case: Case) -> list[dict[str, Any]]:
    """Further arguments: two reads, and sweeps."""
    return [{"passes": 2}, {"sweeps": 2}] if len(case.arguments["chain"]) > 1 else []


# ---------------------------------------------------------------- record


def main() -> None:
    """Record all cases, by kind."""
    outcomes: dict[str, list[tuple[int, Checked]]] = defaultdict(list)
    started = time.process_time()
    for number in range(CASES):
        case = draw(number)
        outcomes[case.kind].append((number, check(case)))
    rows = [_row(kind, outcomes[kind]) for kind in KINDS]
    harness.record("fuzz", [*rows, {"kind": "all", "seconds": time.process_time() - started}])


def _row(kind: str, found: list[tuple[int, Checked]]) -> dict[str, Any]:
    """Summary of the cases of a kind."""
    sound = [checked for _, checked in found if not checked.fault]
    ratios = [checked.bound / checked.error for checked in sound if checked.error > 0]
    return {
        "kind": kind,
        "cases": len(found),
        "in_order": len(sound),
        "median_bound_over_error": float(np.median(ratios)) if ratios else 1.0,
        "named_errors": dict(Counter(c.fault.partition(":")[0] for _, c in found if c.fault[:1].isupper())),
        "failed": [{"number": number, "fault": checked.fault} for number, checked in found if checked.fault],
    }
