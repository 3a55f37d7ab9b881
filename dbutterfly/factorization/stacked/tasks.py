"""The task of a stack: read some matrices and factorize them whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import SourceError
from ...execution.task import Inputs, Output, Task
from ...planning.stacked_plan import StackedPlan
from ...sources.base import MatrixSource
from ...sources.samples import digest_parts
from ...structure.axes import Index
from .fit import fit_matrices
from .job import STAGE, StackJob

__all__ = ["MatricesTask", "tasks_of"]


@dataclass(frozen=True)
class MatricesTask(Task[StackJob]):
    """Read some matrices of a batch and factorize them whole.

    Attributes
    ----------
    batch : int
        Number of the batch.
    first, last : int
        Range of the matrices of the batch.
    lowest, highest : int
        Numbers of the first and last of them in the stack.
    """

    stage: ClassVar[str] = STAGE
    batch: int
    first: int
    last: int
    lowest: int
    highest: int

    @property
    def label(self) -> str:
        """Name with the matrices covered."""
        return f"matrix {self.lowest}" if self.last == self.first + 1 else f"matrices {self.lowest}..{self.highest}"

    def numbers(self, job: StackJob) -> Index:
        """Numbers of the matrices in the stack."""
        return job.plan.batches[self.batch].numbers[self.first : self.last]

    def source_of(self, job: StackJob) -> MatrixSource:
        """The stack."""
        return job.source

    def read_source(self, job: StackJob) -> Inputs:
        """Read the matrices."""
        return {"matrices": job.source.read_matrices(self.numbers(job))}

    def bytes_read(self, job: StackJob) -> int:
        """Bytes of the chunks that the matrices touch."""
        return job.source.bytes_of(self.numbers(job))

    def inspect(self, job: StackJob, inputs: Inputs) -> int:
        """Compare the matrices with the sample, and take their digest."""
        matrices = inputs["matrices"]
        if job.sample is not None:
            for matrix, number in zip(matrices, self.numbers(job).tolist(), strict=True):
                difference = job.sample.find_difference_in_rows(matrix, int(job.source.offsets[number]))
                if difference is not None:
                    raise SourceError(
                        f"{job.source.name_matrix(number)} gives other entries than when the run began ({difference}, "
                        "rows counted through the stack); matrices must stay as they are while they are factorized, "
                        "and functions must give an entry the same value each time"
                    )
        return digest_parts(matrices) if job.keeps_digests else 0

    def compute(self, job: StackJob, inputs: Inputs) -> list[Output]:
        """Factorize, and certify each."""
        fitted = fit_matrices(inputs["matrices"], job.plan.batches[self.batch].plan, job.computing)
        span = (slice(self.first, self.last),)
        outputs = [Output(f"{self.batch}/factors/{i}", span, values) for i, values in enumerate(fitted.factors)]
        outputs.append(Output(f"{self.batch}/outcomes", span, fitted.outcomes))
        if fitted.cuts.shape[1]:
            outputs.append(Output(f"{self.batch}/cuts", span, np.asarray(fitted.cuts)))
        return outputs


def tasks_of(plan: StackedPlan) -> list[MatricesTask]:
    """Tasks of a plan, in the order in which they are submitted."""
    return [
        MatricesTask(number, first, last, int(batch.numbers[first]), int(batch.numbers[last - 1]))
        for number, batch in plan.together
        for first, last in batch.ranges
    ]
