"""Best rank-one approximation of every block of a grid, at the speed of the cache.

A tile of Z is far larger than a cache, and its blocks lie strewn in it. They are copied together a stack at a time, one
that stays in the second-level cache of a core, and there passed over four times: for the energies of the rows, for
``a = Z r^H`` with the largest row r scaled to norm one, for ``b = a^H Z`` and for ``c = Z b^H``. That is one round of
the power iteration with its scaling left out; norms, energies and bounds follow from a, b and c for all blocks of the
grid at once, since a call on a few numbers costs as much as a pass over a stack.

Blocks that the round does not settle are copied again: those whose residual cannot be told from rounding, to form it;
those with more to gain, or with squares out of range, for :func:`dbutterfly.kernels.low_rank.rank_one`. Which
they are the host learns for all stacks at once: on a device, it waits twice, and for the calls of ``rank_one``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, entry_bytes, host_array, is_complex, namespace
from ..linalg import adjoint, cancels, nonzero_divisor, replace, residual_energy, squared_norms
from .rank_one import RankOne, is_settled, rank_one, slack_bound

__all__ = ["rank_one_grid", "stacks_of"]

SMALL_BLOCK = 64
"""Entries of a block up to which a call of BLAS for each would cost more than its arithmetic."""

VECTOR = 16
"""Entries that the widest vector instruction of a processor takes, or a multiple."""


class _Round(NamedTuple):
    """Products of one round for k blocks: energy (k,), a (k, p, 1), b (k, 1, v), c (k, p, 1)."""

    energy: Array
    a: Array
    b: Array
    c: Array


def rank_one_grid(grid: Array, *, dtype: Any, stack_bytes: int, certified: bool = True) -> RankOne:
    """Approximate every block of a grid, a cache-sized stack at a time.

    Parameters
    ----------
    grid : array, shape (G, H, p, v)
        Blocks; any strides, any numeric dtype. Copied stack by stack, never as a whole.
    dtype : dtype of the namespace
        Floating or complex dtype in which to compute.
    stack_bytes : int
        Size of a stack as computed (at least one block is taken).
    certified : bool
        Whether discarded energies below rounding are wanted as well; without, blocks of rank one are read once only.

    Returns
    -------
    RankOne
        With leading axes (G, H). The result for a block does not depend on how the grid is cut into stacks.
    """
    xp = namespace(grid)
    groups, peers = grid.shape[:2]
    parts, copy = stacks_of(grid, dtype, stack_bytes)
    rounds = [_first_round(copy(part)) for part in parts]
    ends = _ends(rounds)
    round_ = _Round(*(_join(arrays) for arrays in zip(*rounds, strict=True)))
    found, rise, t2 = _scale(round_)
    if certified:
        small = cancels(found.discarded, found.energy, dtype)
        residuals = _revisit(parts, ends, small, lambda part, at: _residuals(copy(part), found, at))
    else:
        small = found.discarded < float(xp.finfo(dtype).eps) * found.energy
        residuals = float(xp.finfo(dtype).eps) * found.energy
    if residuals is not None:
        found = found._replace(discarded=xp.where(small, residuals, found.discarded))
    slack = slack_bound(t2, rise, found.discarded)
    found = found._replace(slack=xp.minimum(slack, found.discarded))
    doubtful = ~is_settled(found.energy, found.discarded, rise, slack, dtype) | ~_in_range(found.energy, dtype)
    found = _mend(found, doubtful, parts, ends, copy)
    return RankOne(*(xp.reshape(array, (groups, peers, *array.shape[1:])) for array in found))


def stacks_of(grid: Array, dtype: Any, stack_bytes: int) -> tuple[list[Array], Callable[[Array], Array]]:
    """Cut a grid (G, H, p, v) into stacks of a size.

    Returns
    -------
    parts : list of array
        Views of the grid, whose blocks in order are those of the grid in row-major order.
    copy : callable
        Copies a part together as a contiguous stack (k, p, v) of ``dtype``, over the one that it copied before.
    """
    xp = namespace(grid)
    p, v = grid.shape[2:]
    parts = _parts(grid, max(1, stack_bytes // (p * v * entry_bytes(xp, dtype))))
    buffer = xp.empty(parts[0].shape, dtype=dtype, device=grid.device)

    def copy(part: Array) -> Array:
        stack = buffer[: part.shape[0], : part.shape[1], :, :]
        stack[:, :, :, :] = part if part.dtype == dtype else xp.astype(part, dtype)
        return xp.reshape(stack, (-1, p, v))

    return parts, copy


def _parts(grid: Array, count: int) -> list[Array]:
    """Pieces of at most ``count`` blocks, whose blocks in order are those of the grid in row-major order."""
    groups, peers = grid.shape[:2]
    across = min(peers, count)
    down = max(1, min(groups, count // peers))
    return [
        grid[g : min(g + down, groups), h : min(h + across, peers), :, :]
        for g in range(0, groups, down)
        for h in range(0, peers, across)
    ]


def _first_round(blocks: Array) -> _Round:
    if blocks.shape[1] * blocks.shape[2] <= SMALL_BLOCK:
        return _first_round_across(blocks)
    xp = namespace(blocks)
    count, p, v = blocks.shape
    rows = squared_norms(blocks)
    first = xp.arange(0, count * p, p, dtype=xp.int64, device=blocks.device)
    largest = first + xp.astype(xp.argmax(rows, axis=-1), xp.int64, copy=False)
    start = xp.take(xp.reshape(blocks, (count * p, v)), largest, axis=0)
    norms = xp.sqrt(xp.maximum(xp.max(rows, axis=-1), float(xp.finfo(blocks.dtype).smallest_normal)))
    a = xp.matmul(blocks, adjoint((start / xp.astype(norms, blocks.dtype)[:, None])[:, None, :]))
    b = xp.matmul(adjoint(a), blocks)
    return _Round(xp.sum(rows, axis=-1), a, b, xp.matmul(blocks, adjoint(b)))


def _first_round_across(blocks: Array) -> _Round:
    """The same for small blocks: entry by entry across the stack, whose axis comes last.

    For the result not to depend on the size of the stack, sums are taken term by term and the stack is filled up with
    zeros to whole vectors of the processor: the rest of a complex product would be rounded otherwise.
    """
    xp = namespace(blocks)
    count, p, v = blocks.shape
    z = xp.zeros((p, v, -(-count // VECTOR) * VECTOR), dtype=blocks.dtype, device=blocks.device)
    z[:, :, :count] = xp.permute_dims(blocks, (1, 2, 0))
    conjugate = xp.conj if is_complex(xp, blocks.dtype) else _itself
    rows = _total(_squares(z[:, j, :]) for j in range(v))
    largest = xp.argmax(rows, axis=0)
    start = xp.take_along_axis(z, largest[None, None, :], axis=0)[0, :, :]
    start = conjugate(start / nonzero_divisor(xp.sqrt(xp.max(rows, axis=0)), blocks))
    a = _total(z[:, j, :] * start[j, :] for j in range(v))
    b = _total(z[i, :, :] * conjugate(a[i, :]) for i in range(p))
    adjoint_b = conjugate(b)
    c = _total(z[:, j, :] * adjoint_b[j, :] for j in range(v))
    energy = _total(xp.astype(rows[i, :], xp.float64) for i in range(p))
    a, b, c = (_stack_first(array, count) for array in (a, b, c))
    return _Round(energy[:count], a[:, :, None], b[:, None, :], c[:, :, None])


def _stack_first(vectors: Array, count: int) -> Array:
    """Contiguous (count, n) from (n, at least count)."""
    xp = namespace(vectors)
    stacked = xp.empty((count, vectors.shape[0]), dtype=vectors.dtype, device=vectors.device)
    stacked[:, :] = xp.matrix_transpose(vectors[:, :count])
    return stacked


def _squares(entries: Array) -> Array:
    xp = namespace(entries)
    return xp.real(entries * xp.conj(entries)) if is_complex(xp, entries.dtype) else entries * entries


def _itself(array: Array) -> Array:
    return array


def _total(terms: Iterator[Array]) -> Array:
    total = next(terms)
    for term in terms:
        total = total + term
    return total


def _scale(round_: _Round) -> tuple[RankOne, Array, Array]:
    """Left and right parts with energies (slack not yet known), the rise ``|w|^2`` of the round, and ``t^2``."""
    xp = namespace(round_.a)
    a, b, c = round_.a[:, :, 0], round_.b[:, 0, :], round_.c[:, :, 0]
    a2, b2 = squared_norms(a), squared_norms(b)
    unit = nonzero_divisor(xp.sqrt(b2), b)[:, None]
    right, left = b / unit, c / unit
    t2 = b2 / xp.where(a2 > 0, a2, xp.ones_like(a2))
    rise = squared_norms(left - a * (unit / nonzero_divisor(a2, a)[:, None]))
    discarded = round_.energy - squared_norms(left)
    return RankOne(left, right, round_.energy, discarded, discarded), rise, t2


def _in_range(energy: Array, dtype: Any) -> Array:
    """Energies whose power 3/2, that of ``c``, stays in the range of the dtype, and whose square in that of float64."""
    info = namespace(energy).finfo(dtype)
    low, high = float(info.smallest_normal) / float(info.eps) ** 2, float(info.max) * float(info.eps)
    return (energy > max(low ** (2 / 3), 1e-140)) & (energy < min(high ** (2 / 3), 1e140))


def _residuals(blocks: Array, found: RankOne, at: slice) -> Array:
    return residual_energy(blocks, found.left[at, :, None], found.right[at, None, :])


def _mend(
    found: RankOne, doubtful: Array, parts: list[Array], ends: list[int], copy: Callable[[Array], Array]
) -> RankOne:
    """Put better approximations in place of the doubtful ones, which are taken together to stacks."""
    xp, flags = namespace(doubtful), host_array(doubtful)
    places = [np.flatnonzero(flags[at]) for at in _spans(ends)]

    def taken(number: int) -> Array:
        return xp.take(copy(parts[number]), xp.asarray(places[number], device=doubtful.device), axis=0)

    better = [rank_one(_join(taken(number) for number in stack)) for stack in _together(places, ends[1])]
    if not better:
        return found
    return replace(found, doubtful, RankOne(*(_join(arrays) for arrays in zip(*better, strict=True))))


def _together(places: list[NDArray[np.intp]], most: int) -> Iterator[list[int]]:
    """Numbers of the parts that have places, in order, those together that have ``most`` places or fewer."""
    stack: list[int] = []
    held = 0
    for number, part in enumerate(places):
        if stack and held + part.size > most:
            yield stack
            stack, held = [], 0
        if part.size:
            stack.append(number)
            held += part.size
    if stack:
        yield stack


def _revisit(parts: list[Array], ends: list[int], mask: Array, visit: Callable[[Array, slice], Array]) -> Array | None:
    """What ``visit`` says of the parts that have a block under ``mask``, zero elsewhere; None if there is none."""
    flags = host_array(mask)
    if not flags.any():
        return None
    nothing = namespace(mask).zeros(ends[1], dtype=namespace(mask).float64, device=mask.device)
    return _join(
        visit(part, at) if flags[at].any() else nothing[: at.stop - at.start]
        for part, at in zip(parts, _spans(ends), strict=True)
    )


def _ends(rounds: list[_Round]) -> list[int]:
    ends = [0]
    for round_ in rounds:
        ends.append(ends[-1] + round_.energy.shape[0])
    return ends


def _spans(ends: list[int]) -> list[slice]:
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


def _join(arrays: Any) -> Array:
    arrays = list(arrays)
    return arrays[0] if len(arrays) == 1 else namespace(arrays[0]).concat(arrays, axis=0)
