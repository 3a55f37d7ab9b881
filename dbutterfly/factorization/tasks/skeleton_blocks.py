r"""Blocks of a step of nested skeletons: they are evaluated, their skeletons are chosen, and checked.

Lines that were drawn apart from the proxies check every block. One that they reject, since it has parts which no proxy
has met, is chosen again by twice as many proxies, and so on, as long as the entries evaluated stay below those of the
whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...kernels.low_rank.skeletons.interpolative import Interpolation, interpolate, interpolation_residual
from ...planning.nested_steps import NestedSteps, Step, count_checks, count_proxies
from ...sources.block_entries import evaluate_crossings
from ...sources.entries import Entries
from ...sources.entries_source import EntriesSource
from ...sources.proxies import choose_lines, random_stream
from ...structure.axes import Index
from ..job import FactorizationJob
from ..skeleton_numbers import ENTRY, EVALUATED, RANK, RESIDUAL, SKELETON, WANTED
from .checks import further_exponent, range_error

__all__ = ["Blocks", "EvaluatedBlocks", "Made", "StepWork", "entries_of", "steps_of"]

FAR = 8.0
"""Mean square of what is left at checks, over that at proxies, from which on a block is rejected.

Measured: of Helmholtz and Fourier integral kernels (N = 4096 to 65536), less than one block in a hundred is rejected
with 8 and with 4; of waves between plates in space, many are, and with 32 their error is three times as large.
"""

ROUNDING_UNITS = 256
"""What is left below so many units in the last place of an entry is rounding. Not tuned."""

MOST_ATTEMPTS = 8
"""Times that a block may be chosen by twice as many proxies. Not tuned."""


class Blocks(NamedTuple):
    """Blocks of an outer group and of inner groups that lie beside each other.

    Attributes
    ----------
    owners, fellows : slice
        Groups as they are counted in the task; one of the two has a single group.
    digit : int
        The digit of the outer group.
    outer : int
        Number of the outer group, which the proxies are of.
    """

    owners: slice
    fellows: slice
    digit: int
    outer: int

    @property
    def places(self) -> Iterator[Blocks]:
        """Blocks one by one."""
        for owner in range(self.owners.start, self.owners.stop):
            for fellow in range(self.fellows.start, self.fellows.stop):
                yield self._replace(owners=slice(owner, owner + 1), fellows=slice(fellow, fellow + 1))


class EvaluatedBlocks(NamedTuple):
    """Entries of blocks.

    Attributes
    ----------
    blocks : Blocks
        Which ones.
    matrices : array, shape (B, proxies and checks, candidates that a block has)
        Entries, zero where a block has no candidate.
    columns : array of int64
        Which candidates these are.
    proxies : int
        How many of the lines choose.
    """

    blocks: Blocks
    matrices: NDArray[Any]
    columns: Index
    proxies: int

    @property
    def kind(self) -> tuple[bytes, int, int]:
        """What evaluated blocks must have in common to be treated together."""
        return self.columns.tobytes(), self.proxies, self.matrices.shape[1]


class Made(NamedTuple):
    """What a task writes: a part of a factor (a, b, c, d), and numbers and skeletons (owners, digits, fellows, n)."""

    factor: NDArray[Any]
    found: NDArray[np.float64]

    @classmethod
    def empty(cls, step: Step, owners: slice, fellows: slice, dtype: np.dtype[Any]) -> Made:
        """Make room."""
        a, d = owners.stop - owners.start, fellows.stop - fellows.start
        b, c = step.candidates, step.digits * step.keep
        if step.side == "cols":
            b, c = step.keep * step.digits, step.candidates
        return cls(np.zeros((a, b, c, d), dtype), np.zeros((a, step.digits, d, SKELETON + step.keep)))

    def put(self, step: Step, blocks: Blocks, coefficients: NDArray[Any], numbers: NDArray[np.float64]) -> None:
        """Put coefficients (B, keep, candidates) and numbers (B, n) in place."""
        owners, fellows, digit, _ = blocks
        if step.side == "rows":
            columns = slice(digit * step.keep, (digit + 1) * step.keep)
            self.factor[owners, :, columns, fellows] = coefficients.transpose(2, 1, 0)
        else:
            self.factor[owners, digit :: step.digits, :, fellows] = coefficients[..., None]
        there = self.found[owners, digit, fellows]
        there[...] = numbers.reshape(there.shape)


class StepWork(NamedTuple):
    """What the blocks of a task are made from; candidates have shape (owners, fellows, candidates)."""

    job: FactorizationJob
    step: Step
    made: Made
    candidates: Index
    seed: int
    extra: list[int]

    def blocks(self, owners: slice, fellows: slice) -> Iterator[Blocks]:
        """Blocks that are evaluated by one call each."""
        step = self.step
        a, d = owners.stop - owners.start, fellows.stop - fellows.start
        count, inner = (a, d) if step.side == "rows" else (d, a)
        for own, digit in np.ndindex(count, step.digits):
            one = slice(own, own + 1)
            for start in range(0, inner, step.per_call):
                part = slice(start, min(start + step.per_call, inner))
                if step.side == "rows":
                    yield Blocks(one, part, digit, (owners.start + own) * step.digits + digit)
                else:
                    yield Blocks(part, one, digit, digit * step.fellows + fellows.start + own)

    def evaluate(self, blocks: Blocks, attempt: int = 0) -> EvaluatedBlocks:
        """Evaluate proxies and checks; each attempt takes twice as many proxies."""
        step, entries = self.step, entries_of(self.job)
        side = 0 if step.side == "rows" else 1
        rng = random_stream(self.seed, side, step.cut, blocks.outer, attempt)
        taken = self._candidates_of(blocks)
        columns = np.flatnonzero((taken >= 0).any(axis=0))
        columns = columns if columns.size else np.zeros(1, np.int64)  # of blocks of zeros
        taken = taken[:, columns]
        largest = min(columns.size, step.keep)
        wanted = count_proxies(largest) << attempt, count_checks(largest)
        lines = choose_lines(self._members(blocks.outer), *wanted, rng)
        at, across = self.job.lines[side][taken[taken >= 0]], np.concatenate(lines)
        block = evaluate_crossings(entries, *((at, across) if side == 0 else (across, at)))
        matrices = np.zeros((*taken.shape, across.size), entries.dtype)
        matrices[taken >= 0] = block if side == 0 else block.T
        # In one layout, however many blocks there are: sums over other strides round differently.
        matrices = np.ascontiguousarray(matrices.swapaxes(1, 2))
        return EvaluatedBlocks(blocks, matrices, columns, lines.proxies.size)

    def choose(self, batch: list[EvaluatedBlocks], attempt: int = 0) -> None:
        """Choose the skeletons of blocks that were evaluated, and put them in place."""
        for kind in sorted({part.kind for part in batch}):
            alike = [part for part in batch if part.kind == kind]
            matrices = np.concatenate([part.matrices for part in alike])
            taken = np.concatenate([self._candidates_of(part.blocks) for part in alike])
            chosen = _choose(self.job, self.step, matrices, taken, alike[0])
            first = 0
            for part in alike:
                here = slice(first, first + len(part.matrices))
                first = here.stop
                evaluated = self.made.found[part.blocks.owners, part.blocks.digit, part.blocks.fellows, EVALUATED]
                chosen.numbers[here, EVALUATED] += evaluated.ravel()
                self.made.put(self.step, part.blocks, chosen.coefficients[here], chosen.numbers[here])
                for block, rejected in zip(part.blocks.places, chosen.rejected[here], strict=True):
                    if rejected and self._may_repeat(attempt + 1):
                        self.choose([self.evaluate(block, attempt + 1)], attempt + 1)

    def _members(self, outer: int) -> Index:
        """Lines of an outer group in standard order."""
        step = self.step
        if step.side == "rows":
            return self.job.lines[1][outer * step.size : (outer + 1) * step.size]
        return self.job.lines[0][outer :: step.digits * step.fellows]

    def _candidates_of(self, blocks: Blocks) -> Index:
        taken = self.candidates[blocks.owners, blocks.fellows]
        return taken.reshape(-1, taken.shape[2])

    def _may_repeat(self, attempt: int) -> bool:
        """Whether one more block may be chosen by more proxies; what it takes is set aside."""
        cost = self.step.candidates * (count_proxies(self.step.keep) + count_checks(self.step.keep) << attempt)
        if attempt > MOST_ATTEMPTS or self.extra[0] < cost:
            return False
        self.extra[0] -= cost
        return True


class _Chosen(NamedTuple):
    """Skeletons of B blocks: coefficients (B, keep, candidates), numbers (B, n), and which blocks are rejected."""

    coefficients: NDArray[Any]
    numbers: NDArray[np.float64]
    rejected: NDArray[np.bool_]


def _choose(job: FactorizationJob, step: Step, matrices: NDArray[Any], taken: Index, like: EvaluatedBlocks) -> _Chosen:
    """Choose skeletons among the candidates ``taken`` (B, candidates) by entries (B, lines, those of ``like``)."""
    proxies, columns, all_width = like.proxies, like.columns, taken.shape[1]
    taken = taken[:, columns]
    nested = job.plan.nested
    assert nested is not None
    count, lines, width = matrices.shape
    share = np.maximum((taken >= 0).sum(axis=1), 1) / width  # of the candidates; the others are zero
    allowed = nested.floor**2 * nested.energy * share
    fitted, checked = matrices[:, :proxies], matrices[:, proxies:]
    found = interpolate(fitted, step.keep, allowed, compiled=job.compiled)
    if not np.isfinite(found.entry).all():
        raise range_error(job, further_exponent(job))
    residual, rejected = found.residual, np.zeros(count, np.bool_)
    if lines > proxies:
        residual = interpolation_residual(found, checked)
        rounding = (ROUNDING_UNITS * float(np.finfo(matrices.dtype).eps)) ** 2 * found.entry
        rejected = residual > FAR * np.maximum(found.residual, allowed) + rounding
    size = found.pivots.shape[1]
    coefficients = np.zeros((count, step.keep, all_width), matrices.dtype)
    coefficients[:, :size, columns] = found.coefficients
    numbers = np.full((count, SKELETON + step.keep), -1.0)
    numbers[:, RANK], numbers[:, WANTED] = found.rank, _wanted_ranks(job, found, fitted, allowed)
    numbers[:, RESIDUAL], numbers[:, ENTRY] = residual / share, found.entry / share
    numbers[:, EVALUATED] = share * width * lines
    chosen = np.take_along_axis(taken, found.pivots, axis=1)
    numbers[:, SKELETON : SKELETON + size] = np.where(np.arange(size) < found.rank[:, None], chosen, -1)
    return _Chosen(coefficients, numbers, rejected)


def _wanted_ranks(
    job: FactorizationJob, found: Interpolation, matrices: NDArray[Any], allowed: NDArray[np.float64]
) -> Index:
    """Size that each skeleton should have: the one that it has, or more where it leaves more than it may."""
    wanted: Index = np.array(found.rank)
    short = np.flatnonzero((allowed > 0) & (found.residual > allowed) & (found.rank == found.pivots.shape[1]))
    if short.size:
        most = min(matrices.shape[1:])
        wanted[short] = interpolate(matrices[short], most, allowed[short], compiled=job.compiled).rank
    return wanted


def steps_of(job: FactorizationJob) -> NestedSteps:
    """Steps of a job."""
    assert job.plan.nested_steps is not None
    return job.plan.nested_steps


def entries_of(job: FactorizationJob) -> Entries:
    """Entry function of a job.

    Raises
    ------
    SourceError
        If there is none where the task runs.
    """
    if not isinstance(job.source, EntriesSource):
        raise SourceError(
            f"{job.source.name} cannot be sampled where this task runs; sampled=True needs an entry function that can "
            "be sent to the workers, one defined at the top level of a module"
        )
    return job.source.entries
