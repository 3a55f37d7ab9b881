"""Factorize several matrices of one shape, whole and together, by the same chain.

The steps are those of the tasks of one matrix (:mod:`dbutterfly.factorization.stages`): the blocks of the root cut are
approximated, then the left halves are fitted, then the right halves, and what each step misses makes the certificate.
Here every step serves all matrices in one call of its kernel. The matrices are at hand, so that the second read of
``passes=2`` reads nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, Backend, namespace
from ...kernels.factors.halves import LeftHalves, fit_left_halves, fit_right_halves
from ...kernels.factors.hierarchy import join_left, join_right
from ...kernels.linalg import squared_norms
from ...kernels.low_rank.grid import low_rank_grid
from ...planning.plan import Plan
from ...sources.arrays import ArraySource
from ...sources.exponents import SMALLEST_ENTRIES, exponent_of, largest_energy, largest_part, shift_exponents
from ...structure.axes import Index, Tile
from ..block_stats import BlockStats
from ..device_job import uses_compiled
from ..results.certificate import certify
from ..scaled_factors import scale_certificate, share_power
from ..tasks.checks import first_bad_entry, mark_nonzero
from ..tasks.projection import project_blocks
from ..tasks.tiles import inverse_order
from .certificates import certify_matrices
from .outcomes import NON_FINITE, OUT_OF_RANGE, SOUND, TOO_LARGE, Outcome

__all__ = ["Fitted", "fit_matrices"]


class Fitted(NamedTuple):
    """Factors of n matrices, and what is known of each.

    Attributes
    ----------
    factors : list of array, shape (n, a, b, c, d)
        One array per pattern of the chain; zeros where something is wrong with the matrix.
    outcomes : array of float64, shape (n, fields)
        Rows :class:`~dbutterfly.factorization.stacked.outcomes.Outcome`.
    cuts : array of float64, shape (n, J - 1)
        Error of every cut, relative to the norm of the matrix.
    """

    factors: list[NDArray[Any]]
    outcomes: NDArray[np.float64]
    cuts: NDArray[np.float64]


class _Blocks(NamedTuple):
    """Approximations of the blocks of n matrices, in standard order: the parts on the device, energies on the host."""

    left: Array  # (n, u, q, r, p)
    right: Array  # (n, u, q, r, v)
    energy: NDArray[np.float64]  # (n, u, q)
    discarded: NDArray[np.float64]  # (n, u, q)
    slack: NDArray[np.float64]  # (n, u, q)


def fit_matrices(matrices: NDArray[Any], plan: Plan, backend: Backend) -> Fitted:
    """Factorize several matrices; those of which squares leave the range once more, each divided by a power of two.

    Parameters
    ----------
    matrices : array, shape (n, M, N)
        As stored, of any numeric dtype.
    plan : Plan
        Plan for one of them.
    backend : Backend
        Array library.
    """
    found = _fit(matrices, plan, backend)
    lost = np.flatnonzero(np.isin(found.outcomes[:, 0], (TOO_LARGE, OUT_OF_RANGE)))
    if lost.size:
        _fit_scaled(found, lost, matrices, plan, backend)
    return found


def _fit_scaled(found: Fitted, which: NDArray[np.intp], matrices: NDArray[Any], plan: Plan, backend: Backend) -> None:
    """Fit some of the matrices divided by powers of two, and put what comes out in place."""
    dtype = np.dtype(plan.source.work_dtype)
    given = [matrices[k].astype(dtype) for k in which]
    exponents = [exponent_of(largest_part(matrix)) for matrix in given]
    scaled = [shift_exponents(matrix, -exponent) for matrix, exponent in zip(given, exponents, strict=True)]
    again = _fit(np.stack(scaled), plan, backend)
    for at, (k, exponent) in enumerate(zip(which, exponents, strict=True)):
        certificate = Outcome(*again.outcomes[at]).certificate(None)
        if certificate is None:
            continue
        outcome = Outcome.of(scale_certificate(certificate, exponent, plan.chain, plan.source.shape, dtype))
        factors = share_power([values[at] for values in again.factors], exponent)
        if not math.isfinite(outcome.norm):
            continue
        found.outcomes[k], found.cuts[k] = outcome, again.cuts[at]
        for values, better in zip(found.factors, factors, strict=True):
            values[k] = better


def _fit(matrices: NDArray[Any], plan: Plan, backend: Backend) -> Fitted:
    """Factorize several matrices as they are."""
    grids = [_grid(matrix, plan) for matrix in matrices]
    if plan.split is None:
        return _take_whole(grids, plan)
    blocks, faults = _split_blocks(grids, plan, backend)
    count = len(grids)
    way = _way_of_kernels(plan, backend)
    (_, u, q, _, rank), xp = plan.split, namespace(blocks.left)
    _, left_chain, right_chain = plan.chain.cut(plan.layout.root)
    assert isinstance(plan.tree, tuple)
    parts = xp.reshape(blocks.left, (count * u, *blocks.left.shape[2:]))
    stats = BlockStats(blocks.energy, blocks.discarded, blocks.slack)
    floors = _known_least(stats, plan, backend)
    left = fit_left_halves(parts, left_chain, plan.tree[0], rank, floor=floors[0], **way)
    right_parts, second = _right_parts(grids, left, blocks, plan, backend)
    right_parts = xp.permute_dims(right_parts, (0, 2, 1, 3, 4))
    right = fit_right_halves(right_parts, right_chain, plan.tree[1], floor=floors[1], **way)
    outcomes, cuts = certify_matrices(stats, left, right, second, plan, backend)
    outcomes = [fault or _check_range(found, plan) for fault, found in zip(faults, outcomes, strict=True)]
    joined = [join_left(factor, u) for factor in left.factors] + [join_right(factor, q) for factor in right.factors]
    factors = [np.ascontiguousarray(backend.to_host(factor)) for factor in joined]
    return _without_faults(factors, outcomes, np.array(cuts).reshape(count, -1), plan)


def _known_least(stats: BlockStats, plan: Plan, backend: Backend) -> list[Array]:
    """Energies that any approximations of the blocks leave of all row groups (n*u,), and column groups (n*q,)."""
    eps = float(np.finfo(plan.source.work_dtype).eps)
    return [backend.to_device(stats.least(eps, axis).reshape(-1)) for axis in (2, 1)]


def _way_of_kernels(plan: Plan, backend: Backend) -> dict[str, Any]:
    """How the kernels of a batch work."""
    return {"stack_bytes": backend.stack_bytes, "compiled": uses_compiled(plan, backend)}


def _grid(matrix: NDArray[Any], plan: Plan) -> NDArray[Any]:
    """Blocks (u, q, p, v) of a matrix, numbered as they lie in storage: a view, or a copy where a side is scattered."""
    return ArraySource(matrix).read(plan.rows, plan.cols, _whole(plan))


def _whole(plan: Plan) -> Tile:
    return Tile(0, plan.rows.groups, 0, plan.cols.groups)


def _take_whole(grids: list[NDArray[Any]], plan: Plan) -> Fitted:
    """Matrices themselves as the factors of a chain of one pattern."""
    values = np.stack([grid[0, 0] for grid in grids]).astype(plan.source.work_dtype)
    with np.errstate(all="ignore"):
        energies = np.sum(squared_norms(values), axis=-1).reshape(-1, 1, 1)
    faults = [_find_fault(grid, energy, plan) for grid, energy in zip(grids, energies, strict=True)]
    eps, nothing = float(np.finfo(values.dtype).eps), np.zeros((1, 1, 2))
    outcomes = []
    for grid, energy, fault in zip(grids, energies, faults, strict=True):
        mark_nonzero(grid, energy)
        stats = BlockStats(energy, np.zeros((1, 1)), np.zeros((1, 1)))
        found = fault or Outcome.of(certify(stats, nothing, nothing, nothing[..., :1], factors=1, eps=eps))
        outcomes.append(fault or _check_range(found, plan))
    factors = [values.reshape(-1, *plan.chain.patterns[0])]
    return _without_faults(factors, outcomes, np.zeros((len(grids), 0)), plan)


def _split_blocks(grids: list[NDArray[Any]], plan: Plan, backend: Backend) -> tuple[_Blocks, list[Outcome | None]]:
    """Approximate the blocks of all matrices; what is wrong with a matrix, whose parts are zeros then."""
    step = max(1, backend.stack_bytes // max(1, grids[0].nbytes))
    found = [_split_some(grids[first : first + step], plan, backend) for first in range(0, len(grids), step)]
    xp = namespace(found[0][0])
    left, right, energy, discarded, slack = (xp.concat(parts) for parts in zip(*found, strict=True))
    energies, *others = (np.array(backend.to_host(part)) for part in (energy, discarded, slack))
    faults = []
    for number, grid in enumerate(grids):
        fault = _find_fault(grid, energies[number], plan)
        if fault is None:
            mark_nonzero(grid, energies[number])
        else:  # nothing but zeros goes on
            left[number, ...], right[number, ...] = 0, 0
            energies[number], others[0][number], others[1][number] = 0, 0, 0
        faults.append(fault)
    left = _in_order(left, plan.rows.member_order, 4, backend)
    right = _in_order(right, plan.cols.member_order, 4, backend)
    parts = (_in_standard_groups(part, plan, backend) for part in (left, right))
    numbers = (_in_standard_groups(part, plan, None) for part in (energies, *others))
    return _Blocks(*parts, *numbers), faults


def _split_some(grids: list[NDArray[Any]], plan: Plan, backend: Backend) -> tuple[Array, ...]:
    """Approximate the blocks of some matrices in one call: parts and energies with leading axes (n, u, q)."""
    assert plan.split is not None
    grid = grids[0] if len(grids) == 1 else np.concatenate(grids)
    device = backend.to_device(grid)
    xp = namespace(device)
    dtype = getattr(xp, plan.source.work_dtype)
    found = low_rank_grid(device, (plan.split.rank,), dtype=dtype, **_way_of_kernels(plan, backend))
    groups = (len(grids), plan.split.u, plan.split.q)
    parts = [xp.reshape(part, (*groups, *part.shape[2:])) for part in (found.left, found.right)]
    return *parts, *(xp.reshape(part, groups) for part in (found.energy, found.discarded, found.slack))


def _find_fault(grid: NDArray[Any], energies: NDArray[np.float64], plan: Plan) -> Outcome | None:
    """What is wrong with a matrix whose energies, or sums of them, are not finite."""
    if np.max(energies) < largest_energy(plan.source.work_dtype):
        return None
    bad = first_bad_entry(grid, plan.rows, plan.cols, _whole(plan))
    if bad is not None:
        return Outcome(NON_FINITE, row=bad[0], col=bad[1])
    return Outcome(TOO_LARGE, amount=float(np.max(np.abs(grid))))


def _right_parts(
    grids: list[NDArray[Any]], left: LeftHalves, blocks: _Blocks, plan: Plan, backend: Backend
) -> tuple[Array, NDArray[np.float64] | None]:
    """What the right halves are fitted to, (n, u, q, r, v), and after a second pass what that leaves, (n, u, q, 1)."""
    xp = namespace(left.basis)
    if plan.passes == 1:
        shape = blocks.right.shape
        flat = xp.reshape(blocks.right, (-1, *shape[2:]))
        return xp.reshape(xp.matmul(left.scale, flat), shape), None
    basis = xp.reshape(left.basis, blocks.left.shape)
    for order, axis in ((plan.rows.group_order, 1), (plan.cols.group_order, 2), (plan.rows.member_order, 4)):
        basis = _in_order(basis, inverse_order(order), axis, backend)
    found = [
        project_blocks(backend.to_device(grid), basis[number, ...], plan.source.work_dtype, backend.stack_bytes)
        for number, grid in enumerate(grids)
    ]
    right, residual = (xp.stack(part) for part in zip(*found, strict=True))
    right = _in_order(right, plan.cols.member_order, 4, backend)
    second = _in_standard_groups(backend.to_host(residual), plan, None)
    return _in_standard_groups(right, plan, backend), second[..., None]


def _check_range(outcome: Outcome, plan: Plan) -> Outcome:
    """The outcome, unless squares of entries, or of their rounding errors, have left the range."""
    mean = outcome.norm / math.sqrt(math.prod(plan.source.shape))
    if math.isfinite(outcome.error_bound) and (mean == 0 or mean >= SMALLEST_ENTRIES[plan.source.work_dtype]):
        return outcome
    return Outcome(OUT_OF_RANGE, amount=mean)


def _without_faults(
    factors: list[NDArray[Any]], outcomes: list[Outcome], cuts: NDArray[np.float64], plan: Plan
) -> Fitted:
    """Results with zeros where something is wrong with a matrix."""
    for k, outcome in enumerate(outcomes):
        if outcome.kind == SOUND and not all(np.isfinite(factor[k]).all() for factor in factors):
            outcomes[k] = Outcome(OUT_OF_RANGE, amount=outcome.norm / math.sqrt(math.prod(plan.source.shape)))
        if outcomes[k].kind != SOUND:
            cuts[k] = 0
            for factor in factors:
                factor[k] = 0
    return Fitted(factors, np.array(outcomes, np.float64), cuts)


def _in_standard_groups(part: Any, plan: Plan, backend: Backend | None) -> Any:
    """Put both group axes, 1 and 2, in standard order."""
    part = _in_order(part, plan.rows.group_order, 1, backend)
    return _in_order(part, plan.cols.group_order, 2, backend)


def _in_order(array: Any, order: Index | None, axis: int, backend: Backend | None) -> Any:
    """Put an axis in an order, of an array on the host or, with a backend, on its device; None leaves it as it is."""
    if order is None:
        return array
    if backend is None:
        return np.take(array, order, axis=axis)
    return namespace(array).take(array, backend.to_device(order), axis=axis)
