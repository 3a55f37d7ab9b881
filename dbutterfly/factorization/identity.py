"""Whether the matrix that is given now is the one of a stored run: known by content, wherever it lies.

A run keeps, of its matrix,

    a sample     entries at random places, in the manifest (:mod:`dbutterfly.sources.samples`)
    stamps       what its storage says of each piece of it (:mod:`dbutterfly.sources.stamps`), where it says anything
    digests      of every tile that was read, where stamps are not of the content itself

A matrix whose stamps are those of the run has not been changed, and nothing is read. If some are others, the tiles that
were read of these pieces decide: they are read again, all of them or some at random, and their digests compared. Where
there are no stamps to compare, the sample is looked at again. What has been found is said, in the log and in the record
of the result.

What was not read yet may change: a run whose matrix had a NaN goes on with the matrix mended.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreMismatchError
from ..execution.task import Record
from ..sources.base import MatrixSource
from ..sources.samples import Sample, digest_tile
from ..sources.stamps import ABSENT, Stamps
from ..storage.result_arrays import digest_of
from ..storage.run_store import RunStore
from ..structure.axes import Axis, Index, Tile
from .job import MatrixJob, ReadingPlan
from .results.factorization import Factorization
from .workspace_arrays import read_ended

__all__ = [
    "DIGEST",
    "READ_AGAIN",
    "Identity",
    "Recognition",
    "are_alike",
    "compare_sample",
    "digests_of_result",
    "digests_of_run",
    "mismatch",
    "recognise",
]

READ_AGAIN = 8
"""Tiles that are read again at most where the pieces below them have other stamps.

Not tuned: all of them where few pieces were changed; of a matrix that was copied, a sample.
"""

DIGEST = Record._fields.index("digest")
"""Field of the record of a task."""

_log = logging.getLogger("dbutterfly")

AnyJob = TypeVar("AnyJob", bound=MatrixJob)
"""The class of a job."""


@dataclass(frozen=True, eq=False)
class Recognition:
    """What has shown that a matrix is the one of a stored run.

    Attributes
    ----------
    text : str
        A sentence for the log and the record.
    stamps : Stamps or None
        Stamps of the matrix as it is now.
    is_untouched : bool
        Whether the stamps say that nothing has changed.
    """

    text: str
    stamps: Stamps | None
    is_untouched: bool


@dataclass(frozen=True, eq=False)
class Identity:
    """By what a matrix will be known again.

    Attributes
    ----------
    sample : Sample
        Entries at random places.
    stamps : Stamps or None
        Stamps of its pieces, where its storage tells any.
    """

    sample: Sample
    stamps: Stamps | None

    @classmethod
    def of(cls, source: MatrixSource, stamps: Stamps | None = None) -> Self:
        """Look at a matrix, or what there is to see of it besides stamps that are known."""
        stamps = source.stamps() if stamps is None else stamps
        return cls(source.draw_sample(), None if stamps is None or stamps.tells_nothing else stamps)

    @classmethod
    def open(cls, stored: RunStore, stamps: Stamps | None) -> Self:
        """Identity that a run has kept; its stamps are those of the matrix now, which have not changed."""
        assert stored.manifest.identity is not None
        return cls(Sample.from_json(stored.manifest.identity["sample"]), stamps)

    @property
    def needs_digests(self) -> bool:
        """Whether changed stamps do not say yet that entries have changed, so that digests of what was read decide."""
        return self.stamps is not None and not self.stamps.is_of_content

    def watch(self, job: AnyJob) -> AnyJob:
        """Job whose tasks leave digests where those will decide, and compare what they read with the sample elsewhere.

        The job travels with every task: stamps, which are compared when the run ends, spare it the sample.
        """
        return replace(job, sample=self.sample if self.stamps is None else None, keeps_digests=self.needs_digests)

    def to_json(self) -> dict[str, Any]:
        """What the manifest keeps: the sample, and of the stamps their kind and a digest, which tells others apart."""
        if self.stamps is None:
            return {"sample": self.sample.to_json(), "stamps": None}
        digest = digest_of(self.stamps.values)
        return {"sample": self.sample.to_json(), "stamps": self.stamps.kind, "digest": digest}

    def keep(self, stored: RunStore) -> Self:
        """Store what the manifest does not keep, and return this."""
        if self.stamps is not None:
            stored.put_stamps(self.stamps.values)
        return self


def recognise(
    source: MatrixSource,
    stored: RunStore,
    plan: Callable[[], ReadingPlan],
    digests: Callable[[], NDArray[np.float64] | None],
) -> Recognition:
    """Find out whether a matrix is the one of a stored run.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    stored : RunStore
        The run.
    plan : callable
        Returns the plan of the run, if it is needed.
    digests : callable
        Returns the digests of the tiles, or panels, that the run has read of the matrix; NaN of those that it has not.

    Raises
    ------
    StoreMismatchError
        If it is another one. Nothing was changed.
    """
    identity = stored.manifest.identity
    assert identity is not None
    stamps, before, text = source.stamps(), stored.stamps(), None
    if stamps is not None and before is not None and are_alike(stamps, identity["stamps"], before):
        changed = stamps.values != before
        lost = np.argwhere((stamps.values == ABSENT) & (before != ABSENT))
        if lost.size:
            what = f"{len(lost)} of its {changed.size} pieces are gone, the first being {stamps.name_piece(*lost[0])}"
            raise mismatch(source, stored, what)
        if not changed.any():
            return Recognition("nothing in its storage has changed since the run began", stamps, True)
        text = _compare_pieces(source, stored, stamps, changed, plan(), digests())
    if text is None:
        text = compare_sample(source, stored)
    _log.info("%s: %s", source.name, text)
    return Recognition(text, stamps, False)


def digests_of_run(stored: RunStore, plan: ReadingPlan) -> NDArray[np.float64]:
    """Digests of what a run under way has read of the matrix, tile by tile; NaN of what it has not read."""
    stage = next(iter(plan.tasks))
    return read_ended(stored, stage, plan.tasks[stage])[:, DIGEST]


def digests_of_result(result: Factorization) -> NDArray[np.float64] | None:
    """Digests of all that a run that has ended had read; None where it has left no trace."""
    return None if result.trace is None else result.trace.of_stage(result.trace.stages[0])[:, DIGEST]


def compare_sample(source: MatrixSource, stored: RunStore, kind: str = "matrix", note: str = "") -> str:
    """Look at the places again that the run has kept; of a stack, with a note on how its rows are counted."""
    assert stored.manifest.identity is not None
    known = Sample.from_json(stored.manifest.identity["sample"])
    difference = known.find_difference(source.sample(known.places))
    if difference is not None:
        raise mismatch(source, stored, f"{difference} when the run began{note}", kind)
    return f"known again by {known.values.size} sampled entries"


def are_alike(stamps: Stamps, kind: str | None, before: NDArray[np.uint64]) -> bool:
    """Whether stamps can be compared with those of a run."""
    return stamps.kind == kind and stamps.values.shape == before.shape


def _compare_pieces(
    source: MatrixSource,
    stored: RunStore,
    stamps: Stamps,
    changed: NDArray[np.bool_],
    plan: ReadingPlan,
    digests: NDArray[np.float64] | None,
) -> str | None:
    """Compare what the run has read of changed pieces; None where it has left no digests of it."""
    rows, cols, tiles = _tiles_read(plan)
    if digests is None:
        digests = np.zeros(len(tiles))  # a run that has ended has read all
    read = [number for number in _touching(tiles, (rows, cols), stamps, changed) if not np.isnan(digests[number])]
    row, col = (int(index) for index in np.argwhere(changed)[0])
    what = (
        f"{np.count_nonzero(changed)} of {changed.size} pieces of its storage were changed ({stamps.kind_of_storage}), "
    )
    first = stamps.name_piece(row, col)
    if not read:
        return f"{what}the first being {first}, of which the run had read nothing yet"
    if stamps.is_of_content:
        raise mismatch(source, stored, f"{first} have other entries than when the run began")
    if not all(digests[number] for number in read):
        return None
    again = sorted(random.sample(read, min(len(read), READ_AGAIN)))
    for number in again:
        grid = source.read(rows, cols, tiles[number])
        if digest_tile(grid, rows, cols) != digests[number]:
            raise mismatch(source, stored, f"{_name_tile(rows, cols, tiles[number])} have other entries than were read")
    text = f"{what}and {len(again)} of {len(read)} tiles that the run had read of them are the same"
    return text if len(again) == len(read) else f"{text}; {compare_sample(source, stored)}"


def _tiles_read(plan: ReadingPlan) -> tuple[Axis, Axis, Sequence[Tile]]:
    """Sides and tiles by which a run reads the matrix first: panels of a copy, or tiles."""
    if plan.copy is not None:
        return plan.copy.rows, plan.copy.cols, plan.panels
    return plan.rows, plan.cols, plan.tiles


def _touching(tiles: Sequence[Tile], axes: tuple[Axis, Axis], stamps: Stamps, changed: NDArray[np.bool_]) -> list[int]:
    """Numbers of the tiles that have entries in changed pieces."""
    met: list[dict[tuple[int, int], Index]] = [{}, {}]

    def pieces(side: int, first: int, last: int) -> Index:
        if (first, last) not in met[side]:
            lines = axes[side].rows(first, last)
            lines = lines[lines >= 0]
            met[side][first, last] = np.unique(np.searchsorted(stamps.edges[side], lines, side="right") - 1)
        return met[side][first, last]

    return [
        number
        for number, tile in enumerate(tiles)
        if changed[np.ix_(pieces(0, tile.r0, tile.r1), pieces(1, tile.c0, tile.c1))].any()
    ]


def _name_tile(rows: Axis, cols: Axis, tile: Tile) -> str:
    row_at, col_at = (at[at >= 0] for at in (rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)))
    return f"rows {row_at.min()}..{row_at.max()}, columns {col_at.min()}..{col_at.max()}"


def mismatch(source: MatrixSource, stored: RunStore, what: str, kind: str = "matrix") -> StoreMismatchError:
    """Error for a matrix, or a stack, that is not the one of the run in a store."""
    return StoreMismatchError(
        f"{source.name} is not the {kind} of the run in store={stored.group.store_path}: {what}; nothing was changed: "
        "choose another store, or begin anew with resume=False (dbutterfly.open opens the run, if it has ended)"
    )
