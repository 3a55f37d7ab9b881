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
from ..tasks.projection import stacks_of_blocks
from ..tasks.tiles import TileReader
from .cut_work import COUPLING
from .tile_tasks import ProofJob, ProofTask, outputs_of_tile, sum_name

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

MEASURES = 5
"""Numbers that are measured of each block of a target."""


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
class StartTask(ProofTask):
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
class _AscentTask(TileReader):
    """A task on the targets of a tile after some steps."""

    cut: int
    step: int

    def needs_matrix(self, job: ProofJob) -> bool:
        """Whether the entries of Z are needed."""
        raise NotImplementedError

    def read_source(self, job: Any) -> Inputs:
        """Read the tile, where it is needed."""
        return super().read_source(job) if self.needs_matrix(job) else {}

    def bytes_read(self, job: Any) -> int:
        """Bytes of the chunks that the tile touches, where it is read."""
        return super().bytes_read(job) if self.needs_matrix(job) else 0

    def inspect(self, job: Any, inputs: Inputs) -> int:  # noqa: ARG002
        """Compare nothing: whatever matrix the targets are of, the bound is evaluated with the one that is read."""
        return 0

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
        total = inputs["total"] if "total" in inputs else np.zeros(moved.shape, job.wide)
        captured = np.empty(moved.shape[:2])
        share, pull = inputs["shares"][..., 1, None, None], inputs["pull"]
        for places, target in self.targets(job, inputs):
            found = shrink_leading(target + pull[places], job.rank, COUPLING)
            moved[places], captured[places] = found.blocks, found.leading
            total[places] += share[places] * moved[places]
        arrays = {target_name(self.cut, self.step + 1, job.cuts): moved, total_name(self.cut): total}
        if self.needs_matrix(job):
            gap = (inputs["grid"] - total).astype(moved.dtype)
            pull += gap
            arrays |= {gap_name(self.step + 1): gap, pull_name(self.step + 1): pull}
        outputs = [each for name, array in arrays.items() for each in outputs_of_tile(job, self.tile, name, array)]
        return [*outputs, Output(captured_name(self.cut), self.groups, captured)]


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
        """Of each block: ``d(T)^2``, ``||T - Z||^2``, ``||T||^2``, ``||G||^2`` and what ``total + G`` misses of Z."""
        found = np.zeros((*inputs["target"].shape[:2], MEASURES))
        for places, target in self.targets(job, inputs):
            matrix, gap = inputs["grid"][places].astype(job.wide), inputs["gap"][places].astype(job.wide)
            parts = [target - matrix, target, gap]
            if "total" in inputs:
                parts.append(matrix - inputs["total"][places] - gap)
            energies = [squared_norms(part).sum(axis=-1) for part in parts]
            found[places][..., : 1 + len(parts)] = np.stack([trailing_energies(target, job.rank), *energies], axis=-1)
        return [Output(measures_name(self.cut), self.groups, found)]
