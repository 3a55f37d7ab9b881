"""Best rank-one approximation of every block of a grid, at the speed of the cache.

A tile of Z is far larger than a cache, and its blocks lie strewn in it. They are copied together a stack at a time, one
that stays in the second-level cache of a core, and there passed over four times: for the energies of the rows, and,
with the largest row r scaled to norm one, for

    (1)  a = Z r^H
    (2)  b = a^H Z
    (3)  c = Z b^H

That is one round of the power iteration of :mod:`dbutterfly.kernels.low_rank.rank_one` with its scaling left out. What
the round gives there follows from a, b and c,

    (4)  u = a / |a|,    v^H = b / |b|,    Z v = c / |b|,    t = |b| / |a|,    w = Z v - t u

and so do norms, energies and bounds: for all blocks of the grid at once, since a call on a few numbers costs as much as
a pass over a stack.

Blocks that the round does not settle are copied again. Where the residual cannot be told from rounding, it is formed;
where there is more to gain, or squares are out of range, the block goes to ``rank_one``. The host learns which blocks
these are for all stacks at once: on a device, it waits twice, and for the calls of ``rank_one``.

The compiled loops do all that while a block is in the cache. They read it once with the copy, for the energies of the
rows, and twice for a round: once for (1) and (2), and once for (3) and the residual. Where there is more to gain, they
go on with it as ``rank_one`` does with large blocks. What they leave open goes there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, host_array, is_complex, namespace
from ..linalg import adjoint, has_cancelled, nonzero_divisor, replace, residual_energy, squared_norms
from .compiled import round_grid
from .rank_one import RankOne, is_settled, rank_one, rank_one_by_gram, slack_bound
from .stacks import spans_of, stacks_of

__all__ = ["rank_one_grid"]

SMALL_BLOCK = 64
"""Entries of a block up to which the stack is worked on entry by entry: a call of BLAS costs more than its arithmetic.

Measured on stacks of up to 1 MiB, on a shared core of an AMD EPYC: entry by entry takes half of the time of BLAS for
4 x 4 blocks of float32, as long from 8 x 8 to 10 x 10, and 2.5 times as long for 16 x 16. For complex128 the two cross
between 4 x 4 and 6 x 6 already, and 8 x 8 takes 1.9 times as long: the limit suits float32.
"""

VECTOR = 16
"""Entries to a multiple of which a stack is filled up.

Not tuned: the widest vector instruction of a processor, of 64 bytes, takes 16 entries of float32 and fewer of others.
"""


class _Round(NamedTuple):
    """Energies (k,) of k blocks, and products (1) to (3): a (k, p, 1), b (k, 1, v), c (k, p, 1)."""

    energy: Array
    a: Array
    b: Array
    c: Array


def rank_one_grid(
    grid: Array, *, dtype: Any, stack_bytes: int, certified: bool = True, compiled: bool = False
) -> RankOne:
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
    compiled : bool
        Whether the compiled loops go over the blocks, which are those of a NumPy array then.

    Returns
    -------
    RankOne
        With leading axes (G, H). The result for a block does not depend on how the grid is cut into stacks.
    """
    xp = namespace(grid)
    groups, peers = grid.shape[:2]
    parts, copy = stacks_of(grid, dtype, stack_bytes)
    spans = spans_of(parts)
    if compiled:
        left, right, numbers = round_grid(grid, dtype, stack_bytes=stack_bytes, certified=certified)
        found, open_ = RankOne(left, right, *numbers[:, :3].T), numbers[:, 3] > 0
    else:
        found, open_ = _approximate(parts, spans, copy, dtype, certified=certified)
    usual = _is_in_range(found.energy, dtype)
    found = _mend(found, usual, open_, parts, spans, copy)
    return RankOne(*(xp.reshape(array, (groups, peers, *array.shape[1:])) for array in found))


def _approximate(
    parts: list[Array], spans: list[slice], copy: Callable[[Array], Array], dtype: Any, *, certified: bool
) -> tuple[RankOne, Array]:
    """Approximations by one round; and the mask of blocks of which there is more to gain."""
    xp = namespace(parts[0])
    rounds = [_first_round(copy(part)) for part in parts]
    found, rise, t2 = _scale(_Round(*(_join(arrays) for arrays in zip(*rounds, strict=True))))
    if certified:
        small = has_cancelled(found.discarded, found.energy, dtype)
        residuals = _revisit(parts, spans, small, lambda part, at: _residuals(copy(part), found, at))
    else:
        # Without a certificate, a difference that is rounding counts as rounding: no block is read again to form it.
        small = found.discarded < float(xp.finfo(dtype).eps) * found.energy
        residuals = float(xp.finfo(dtype).eps) * found.energy
    if residuals is not None:
        found = found._replace(discarded=xp.where(small, residuals, found.discarded))
    slack = slack_bound(t2, rise, found.discarded)
    open_ = ~is_settled(found.energy, found.discarded, rise, slack, dtype)
    return found._replace(slack=xp.minimum(slack, found.discarded)), open_


def _first_round(blocks: Array) -> _Round:
    """Products (1) to (3) for a stack of blocks."""
    if blocks.shape[1] * blocks.shape[2] <= SMALL_BLOCK:
        return _first_round_across(blocks)
    xp = namespace(blocks)
    count, p, v = blocks.shape
    rows = squared_norms(blocks)
    first = xp.arange(0, count * p, p, dtype=xp.int64, device=blocks.device)
    largest = first + xp.astype(xp.argmax(rows, axis=-1), xp.int64, copy=False)
    start = xp.take(xp.reshape(blocks, (count * p, v)), largest, axis=0)
    norms = xp.sqrt(xp.maximum(xp.max(rows, axis=-1), float(xp.finfo(blocks.dtype).smallest_normal)))
    a = xp.matmul(blocks, adjoint((start / xp.astype(norms, blocks.dtype)[:, None])[:, None, :]))  # (1)
    b = xp.matmul(adjoint(a), blocks)  # (2)
    return _Round(xp.sum(rows, axis=-1), a, b, xp.matmul(blocks, adjoint(b)))  # (3)


def _first_round_across(blocks: Array) -> _Round:
    """Products (1) to (3) for small blocks: entry by entry across the stack, whose axis comes last.

    For the result not to depend on the size of the stack, sums are taken term by term and the stack is filled up with
    zeros to whole vectors of the processor: the last entries of a complex product, which no whole vector takes, would
    be rounded otherwise.
    """
    xp = namespace(blocks)
    count, p, v = blocks.shape
    z = xp.zeros((p, v, -(-count // VECTOR) * VECTOR), dtype=blocks.dtype, device=blocks.device)
    z[:, :, :count] = xp.permute_dims(blocks, (1, 2, 0))
    conjugate = xp.conj if is_complex(xp, blocks.dtype) else _identity
    rows = _sum_terms(_squares(z[:, j, :]) for j in range(v))
    largest = xp.argmax(rows, axis=0)
    start = xp.take_along_axis(z, largest[None, None, :], axis=0)[0, :, :]
    start = conjugate(start / nonzero_divisor(xp.sqrt(xp.max(rows, axis=0)), blocks))
    a = _sum_terms(z[:, j, :] * start[j, :] for j in range(v))  # (1)
    b = _sum_terms(z[i, :, :] * conjugate(a[i, :]) for i in range(p))  # (2)
    adjoint_b = conjugate(b)
    c = _sum_terms(z[:, j, :] * adjoint_b[j, :] for j in range(v))  # (3)
    energy = _sum_terms(xp.astype(rows[i, :], xp.float64) for i in range(p))
    a, b, c = (_move_stack_first(array, count) for array in (a, b, c))
    return _Round(energy[:count], a[:, :, None], b[:, None, :], c[:, :, None])


def _move_stack_first(vectors: Array, count: int) -> Array:
    """Contiguous vectors (count, n) of a stack from their entries (n, at least count)."""
    xp = namespace(vectors)
    stacked = xp.empty((count, vectors.shape[0]), dtype=vectors.dtype, device=vectors.device)
    stacked[:, :] = xp.matrix_transpose(vectors[:, :count])
    return stacked


def _squares(entries: Array) -> Array:
    """Squared moduli; as products, whose rounding does not depend on the place in a vector of the processor."""
    xp = namespace(entries)
    return xp.real(entries * xp.conj(entries)) if is_complex(xp, entries.dtype) else entries * entries


def _identity(array: Array) -> Array:
    return array


def _sum_terms(terms: Iterator[Array]) -> Array:
    """Sum of arrays one after the other, in the order of the terms whatever the length of the stack."""
    total = next(terms)
    for term in terms:
        total = total + term
    return total


def _scale(round_: _Round) -> tuple[RankOne, Array, Array]:
    """Left and right parts (4) with energies (slack not yet known), the rise ``|w|^2`` of the round, and ``t^2``."""
    xp = namespace(round_.a)
    a, b, c = round_.a[:, :, 0], round_.b[:, 0, :], round_.c[:, :, 0]
    a2, b2 = squared_norms(a), squared_norms(b)
    unit = nonzero_divisor(xp.sqrt(b2), b)[:, None]
    right, left = b / unit, c / unit  # (4): v^H and Z v
    t2 = b2 / xp.where(a2 > 0, a2, xp.ones_like(a2))  # (4)
    rise = squared_norms(left - a * (unit / nonzero_divisor(a2, a)[:, None]))  # (4): t u = a |b| / |a|^2
    discarded = round_.energy - squared_norms(left)
    return RankOne(left, right, round_.energy, discarded, discarded), rise, t2


def _is_in_range(energy: Array, dtype: Any) -> Array:
    """Mask of the energies at which nothing leaves its range.

    ``|c|`` is of the size of ``||Z||^3``, so that the power 3/2 of the energy must not be less than the distance of
    :func:`dbutterfly.kernels.linalg.safe_range` allows. ``|b|^2`` is no more than the square of the energy, which must
    stay in the range of the dtype, and in that of float64 by far.
    """
    info = namespace(energy).finfo(dtype)
    low, high = float(info.smallest_normal) / float(info.eps) ** 2, float(info.max) / 2
    return (energy > max(low ** (2 / 3), 1e-140)) & (energy < min(high**0.5, 1e140))


def _residuals(blocks: Array, found: RankOne, at: slice) -> Array:
    """Energies of the residuals of a stack, whose approximations lie at a slice of ``found``."""
    return residual_energy(blocks, found.left[at, :, None], found.right[at, None, :])


def _mend(
    found: RankOne, usual: Array, open_: Array, parts: list[Array], spans: list[slice], copy: Callable[[Array], Array]
) -> RankOne:
    """Replace approximations by better ones: blocks of several parts go together to the kernel that is for them.

    Those in the usual range that are open go to their Gram matrix, those out of range to ``rank_one``.
    """
    xp = namespace(usual)
    masks = usual & open_, ~usual
    flags = np.split(host_array(xp.concat(masks)), 2)  # one wait for both
    for kind, mask in enumerate(masks):
        if not flags[kind].any():
            continue
        places, better = [np.flatnonzero(flags[kind][at]) for at in spans], []
        for numbers in _gather_parts(places, spans[0].stop):
            chosen = ((copy(parts[part]), xp.asarray(places[part], device=mask.device)) for part in numbers)
            blocks = _join(xp.take(blocks, which, axis=0) for blocks, which in chosen)
            if kind == 1:
                better.append(rank_one(blocks))
                continue
            at = np.concatenate([spans[part].start + places[part] for part in numbers])
            which = xp.asarray(at, device=mask.device)
            better.append(rank_one_by_gram(blocks, RankOne(*(xp.take(array, which, axis=0) for array in found))))
        found = replace(found, mask, RankOne(*(_join(arrays) for arrays in zip(*better, strict=True))))
    return found


def _gather_parts(places: list[NDArray[np.intp]], most: int) -> Iterator[list[int]]:
    """Lists of the numbers of the parts that have places, in order; those of a list have at most ``most`` places."""
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


def _revisit(
    parts: list[Array], spans: list[slice], mask: Array, visit: Callable[[Array, slice], Array]
) -> Array | None:
    """Results of ``visit`` for the parts with a block under ``mask``, zero for others; None if nothing is true."""
    flags = host_array(mask)
    if not flags.any():
        return None
    nothing = namespace(mask).zeros(spans[0].stop, dtype=namespace(mask).float64, device=mask.device)
    return _join(
        visit(part, at) if flags[at].any() else nothing[: at.stop - at.start]
        for part, at in zip(parts, spans, strict=True)
    )


def _join(arrays: Any) -> Array:
    """Concatenate arrays; a single one is not copied."""
    arrays = list(arrays)
    return arrays[0] if len(arrays) == 1 else namespace(arrays[0]).concat(arrays, axis=0)
