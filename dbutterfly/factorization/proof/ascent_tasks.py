r"""Tasks of an ascent out of core: the steps of :mod:`.ascent`, tile by tile.

A step (2), (3) of :mod:`.ascent` shrinks the target of every cut and moves all of them by one matrix, which is known
when the last cut is done. So what is stored of the target of cut k are the shrunk blocks ``T'_k``; the gap
``G = Z - sum_k w_k T'_k`` and the pull ``U = 2 W / c`` are stored once for all cuts; and with the quotients f of the
shares before and after they have moved, one for each block,

    (1)  T_k = f_k (T'_k + G),    T'_k <- shrink(T_k + U),    G <- Z - sum_k w_k T'_k,    U <- U + G.

In a step, for every cut in turn, tasks shrink their blocks and add them, times the share, to the total of the cuts
before; those of the last cut read Z and write G and U. So a step reads every cut once, and Z once.

Each range is written once by one task, and what a stage reads no task of it writes, so that a task may be done again.
Targets have one array more than there are cuts: those of a cut are written where the cut before has had its own.
Totals, gaps and pulls take turns in two arrays each. Totals are in double precision, so that the mean of the targets is
Z but for the rounding of G, which vanishes as the ascent converges.

A total is that of the targets only while all arrays are of the same step. When the bound is evaluated, every target is
multiplied by the same signs from both sides: the mean of the products is that of Z, or arrays do not belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Inputs, Output
from ...kernels.linalg import squared_norms
from ...kernels.low_rank.spectra import shrink_leading, trailing_energies
from ...structure.axes import Axis
from ..tasks.checks import check_finite
from ..tasks.projection import stacks_of_blocks
from .cut_work import COUPLING
from .tile_tasks import FieldTask, ProofJob, ProofTask, outputs_of_tile, sum_name

__all__ = [
    "MEASURES",
    "MeasureTask",
    "MoveTask",
    "StartTask",
    "captured_name",
    "gap_name",
    "measures_name",
    "pull_name",
    "shares_name",
    "target_name",
    "total_name",
]

MEASURES = 9
"""Numbers that are measured of each block of a target T: ``d(T)^2``, ``||T - Z||^2``, ``||T||^2``, ``||G||^2``, what
``total + G`` misses of Z, squared, and real and imaginary part of ``r^T T c`` and of ``r^T Z c``, with fixed signs r of
the rows of the matrix and c of its columns. Those of Z are measured with the last cut only, and are zero with others.
"""


def target_name(cut: int, step: int, cuts: int) -> str:
    """Array of ``T'_k`` after so many steps."""
    return f"target/{(cut - step) % (cuts + 1)}"


def total_name(cut: int) -> str:
    """Array of the total of the cuts up to one of them: there are two, which take turns."""
    return f"total/{cut % 2}"


def gap_name(step: int) -> str:
    """Array of G after so many steps."""
    return f"gap/{step % 2}"


def pull_name(step: int) -> str:
    """Array of U after so many steps."""
    return f"pull/{step % 2}"


def shares_name(cut: int, step: int) -> str:
    """Array of the quotients f and the shares w of the blocks of a cut after so many steps, shape (u, q, 2)."""
    return f"shares/{step % 2}/{cut}"


def captured_name(cut: int) -> str:
    """Array of the energies that the rank has captured in the last step, shape (u, q)."""
    return f"captured/{cut}"


def measures_name(cut: int) -> str:
    """Array of what was measured of the targets of a cut, shape (u, q, MEASURES)."""
    return f"measures/{cut}"


@dataclass(frozen=True)
class StartTask(FieldTask):
    """Write the first targets of a tile, those from the residual or the matrix itself; with the first cut, the pull."""

    kind: ClassVar[str] = "first target of tile"
    by_residual: bool

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Name of the stage of the cut."""
        return f"start/{self.cut}"

    def needs_matrix(self, job: ProofJob) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def names(self, job: ProofJob) -> dict[str, str]:
        """The last field and the sum of all cuts, if the targets are those from the residual."""
        return {**super().names(job), "sum": sum_name(job.cuts)} if self.by_residual else {}

    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Form targets and pull."""
        grid = inputs["grid"]
        target = np.empty(grid.shape, job.plan.source.work_dtype)
        pull = np.empty_like(target) if self.cut == 1 else None
        for places, matrix, residual, _, normal in self.split(job, inputs):
            assert matrix is not None
            target[places] = matrix + normal - inputs["sum"][places] if self.by_residual else matrix
            if pull is not None:
                pull[places] = (matrix - residual) * (2 / COUPLING)
        outputs = list(outputs_of_tile(job, self.tile, target_name(self.cut, 0, job.cuts), target))
        return outputs if pull is None else [*outputs, *outputs_of_tile(job, self.tile, pull_name(0), pull)]


@dataclass(frozen=True)
class _AscentTask(ProofTask):
    """A task on the targets of a tile after some steps."""

    step: int

    def read_workspace(self, job: Any) -> Inputs:
        """Read the targets, what moves them, and the shares."""
        found = {
            "target": job.read_kept(target_name(self.cut, self.step, job.cuts), self.tile),
            "shares": job.workspace.read(shares_name(self.cut, self.step), self.groups),
        }
        return found if self.step == 0 else found | {"gap": job.read_kept(gap_name(self.step), self.tile)}

    def targets(self, job: ProofJob, inputs: Inputs) -> Iterator[tuple[tuple[int, slice], NDArray[Any]]]:
        """Blocks of the targets in double precision, a stack at a time, with their places."""
        quotients = inputs["shares"][..., 0, None, None]
        for g, h, stored in stacks_of_blocks(inputs["target"], job.wide.name, job.computing.stack_bytes):
            places = g, slice(h, h + stored.shape[0])
            moved = stored + inputs["gap"][places] if "gap" in inputs else stored
            yield places, moved * quotients[places]


@dataclass(frozen=True)
class MoveTask(_AscentTask):
    """Make a step with the targets of a tile, and with those of the last cut complete it."""

    kind: ClassVar[str] = "step of tile"

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Name of the stage of the cut; those of two steps in a row differ."""
        return f"step/{self.step % 2}/{self.cut}"

    def needs_matrix(self, job: ProofJob) -> bool:
        """With the last cut."""
        return self.cut == job.cuts

    def read_workspace(self, job: Any) -> Inputs:
        """Read the pull and the total of the cuts before, too."""
        found = super().read_workspace(job) | {"pull": job.read_kept(pull_name(self.step), self.tile)}
        if self.cut > 1:
            found["total"] = job.read_kept(total_name(self.cut - 1), self.tile, job.wide)
        return found

    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Shrink the blocks and add them to the total, and form gap and pull."""
        moved = np.empty_like(inputs["target"])
        total = _own(job, inputs["total"]) if "total" in inputs else np.zeros(moved.shape, job.wide)
        captured = np.empty(moved.shape[:2])
        share, pull = inputs["shares"][..., 1, None, None], inputs["pull"]
        for places, target in self.targets(job, inputs):
            found = shrink_leading(target + pull[places], job.rank, COUPLING)
            moved[places], captured[places] = found.blocks, found.leading
            total[places] += share[places] * moved[places]
        for name in ("target", "gap", "total"):  # what is written takes their place
            inputs.pop(name, None)
        outputs = [Output(captured_name(self.cut), self.groups, captured)]
        outputs += outputs_of_tile(job, self.tile, target_name(self.cut, self.step + 1, job.cuts), moved)
        del moved
        if self.needs_matrix(job):
            gap = (inputs["grid"] - total).astype(pull.dtype)
            outputs += outputs_of_tile(job, self.tile, gap_name(self.step + 1), gap)
            outputs += outputs_of_tile(job, self.tile, pull_name(self.step + 1), pull + gap)
        return [*outputs, *outputs_of_tile(job, self.tile, total_name(self.cut), total)]


@dataclass(frozen=True)
class MeasureTask(_AscentTask):
    """Measure the targets of a tile's blocks, and with the last cut how far their mean is from the matrix."""

    kind: ClassVar[str] = "measurement of tile"

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Name of the stage of the cut."""
        return f"measure/{self.cut}"

    def needs_matrix(self, job: ProofJob) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def read_workspace(self, job: Any) -> Inputs:
        """Read the total, too, with the last cut."""
        found = super().read_workspace(job)
        if self.cut == job.cuts:
            found["total"] = job.read_kept(total_name(self.cut), self.tile, job.wide)
        return found

    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Of each block, what :data:`MEASURES` says."""
        grid, is_last = inputs["grid"], "total" in inputs
        check_finite(job, grid, self.tile, squared_norms(grid).sum(axis=-1))
        found = np.zeros((*grid.shape[:2], MEASURES))
        by_row = _signs(job.plan.rows, *self.tile[:2], side=0)
        by_col = _signs(job.plan.cols, *self.tile[2:], side=1)
        for (g, some), target in self.targets(job, inputs):
            matrix, gap = (inputs[name][g, some].astype(job.wide) for name in ("grid", "gap"))
            parts = [target - matrix, target, gap]
            if is_last:
                parts.append(matrix - inputs["total"][g, some] - gap)
            energies = [squared_norms(part).sum(axis=-1) for part in parts]
            numbers = found[g, some]
            numbers[:, : 1 + len(parts)] = np.stack([trailing_energies(target, job.rank), *energies], axis=-1)
            for k, each in enumerate((target, matrix)[: 1 + is_last]):
                probe = (each @ by_col[some, :, None])[:, :, 0] @ by_row[g]
                numbers[:, 5 + 2 * k], numbers[:, 6 + 2 * k] = probe.real, probe.imag
        return [Output(measures_name(self.cut), self.groups, found)]


def _own(job: ProofJob, array: NDArray[Any]) -> NDArray[Any]:
    """Array that may be changed: what was sent to a worker may be given to a task again."""
    return array if job.workspace.shared else array.copy()


def _signs(axis: Axis, first: int, last: int, side: int) -> NDArray[np.float64]:
    """Signs of the members of groups, shape (groups, members): each row, or column, of the matrix has one."""
    signs = np.random.default_rng((side, axis.length)).choice([-1.0, 1.0], axis.length)
    by_group = signs[axis.positions(first, last)].reshape(axis.buffer_shape(first, last))
    return by_group.T if axis.strided else by_group
