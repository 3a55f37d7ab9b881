"""The arrays of a run's workspace: shape, chunks, the tasks that write them, and their dependence on the rank.

    array        shape           order    what
    copy         (M, N)          groups   the matrix, with its gaps, with the groups of one side laid together
    A            (u, q, k, p)    storage  left parts of the blocks: rows are the columns of ``Z V``
    B            (q, u, k, v)    storage  right parts ``V^H``, or ``X^H Z`` (k = r) where Z is read twice
    stats        (u, q, 1 + 2n)  storage  energies of the blocks (:mod:`dbutterfly.factorization.block_stats`)
    X            (u, q, r, p)    storage  orthonormal columns, as rows, of the product of the left factors
    scale        (u, q, r, r)    storage  ``X^H (Z V)``, by which the one-read B is multiplied
    left_error   (u, q, 1 + r)   storage  ``||A - X X^H A||^2`` of each block, squared sines of X to the range of A
    second       (u, q, 1)       storage  ``||Z - X X^H Z||^2`` of each block, after a second read
    right_error  (q, u, 2 r)     storage  ``||b - b'||^2`` of each row of B and of the right product, and ``||b'||^2``
    left_missed  (u, cuts)       storage  ``||given - product||^2`` of every node of the left tree, by its cut
    right_missed (q, cuts)       storage  ``||given - product||^2`` of every node of the right tree, by its cut
    left_least   (u,)            storage  energy that any product of the left chain misses of a row group; 0: not formed
    right_least  (q,)            storage  likewise of a column group
    left/l       (u, a, b, c, d) storage  factors of the row groups
    right/l      (q, a, b, c, d) storage  factors of the column groups
    interpolated, factor/l         storage  by nested skeletons: factors (a, b, c, d) for skeletons of all sizes that
                 (a, b, c, d)               there is room for, the one before the root cut also without the core
    skeletons/STEP (a, digits, d, 5 + k) storage  numbers and skeletons (:mod:`.skeleton_numbers`)
    done/STAGE   (tasks, 9)      tasks    that a task has ended: the fields of its ``Record``

Here p, u, q, v and r are those of the root cut (:class:`dbutterfly.structure.chain.Cut`), and k >= r is the largest of
the n ranks for which the tiles were split. A half of one factor has no nodes, and no
``..._missed`` and ``..._least``. "Storage" order is that of the copy where the plan makes one. The row of ``done`` is
the last thing that a task writes.

:func:`workspace_arrays` is this table in code, for a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..execution.task import Record, done_name
from ..planning.nested_steps import CORE
from ..planning.plan import Plan
from ..storage.rank_workspace import RankWorkspace
from ..storage.run_store import RunStore
from ..storage.workspace import Selection, Workspace
from ..structure.axes import Tile
from .skeleton_numbers import SKELETON, factor_name

__all__ = [
    "WorkspaceArray",
    "count_ended",
    "open_workspace",
    "read_ended",
    "shared_names",
    "workspace_arrays",
    "writers",
]

Spans: TypeAlias = Callable[[Plan], Iterable[Selection]]
"""Ranges of an array that the tasks of its stage write, in the order of the tasks."""


@dataclass(frozen=True)
class WorkspaceArray:
    """One array of a workspace.

    Attributes
    ----------
    name : str
        Its name.
    shape, chunks : tuple of int
        Shapes of the array and of its chunks. A task writes whole chunks that no other task writes.
    dtype : dtype or str
        Type of its entries.
    stage : str
        Stage whose tasks write it.
    spans : callable
        Range that every task of the stage writes.
    per_rank : bool
        Whether every rank to which a tolerance may raise the run has an array of its own.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any
    stage: str
    spans: Spans
    per_rank: bool


def workspace_arrays(plan: Plan) -> dict[str, WorkspaceArray]:
    """Arrays that the tasks of a plan fill, by name."""
    shared = shared_names(plan.passes)
    return {
        name: WorkspaceArray(name, shape, chunks, dtype, stage, spans, name not in shared)
        for name, shape, chunks, dtype, stage, spans in _rows(plan)
    }


def shared_names(passes: int) -> frozenset[str]:
    """Names of the arrays that all ranks of a run share, since only the tiles write them.

    B is among them where Z is read once; a second read writes it for its own rank.
    """
    names = {"copy", "A", "stats", done_name("copy"), done_name("tiles")}
    return frozenset(names | {"B"} if passes == 1 else names)


_Row: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...], Any, str, Spans]


def _rows(plan: Plan) -> Iterator[_Row]:
    """Rows of the table: name, shape, chunks, dtype, stage, spans."""
    dtype, f8, fields = plan.source.work_dtype, np.float64, len(Record._fields)
    for stage, tasks in plan.tasks.items():
        yield done_name(stage), (tasks, fields), (1, fields), f8, stage, _by_task(tasks)
    if plan.nested_steps is not None:
        yield from _nested_rows(plan)
        return
    if plan.copy is not None:
        yield "copy", plan.chain.shape, plan.copy.chunks, dtype, "copy", _by_panel
    if plan.split is None:
        shape = (1, *plan.chain.patterns[0])
        yield "left/0", shape, shape, dtype, "tiles", _whole
        yield "stats", (1, 1, 3), (1, 1, 3), f8, "tiles", _whole
        return
    p, u, q, v, rank = plan.split
    rows, cols, per_left, per_right = (
        plan.layout.tile_rows,
        plan.layout.tile_cols,
        plan.layout.left_groups,
        plan.layout.right_groups,
    )
    kept, stats = plan.ranks[-1], 1 + 2 * len(plan.ranks)
    yield "A", (u, q, kept, p), (min(per_left, rows), cols, kept, p), dtype, "tiles", _by_tile
    yield "stats", (u, q, stats), (rows, cols, stats), f8, "tiles", _by_tile
    yield "X", (u, q, rank, p), (per_left, cols, rank, p), dtype, "left", _by_row_groups
    yield "scale", (u, q, rank, rank), (per_left, q, rank, rank), dtype, "left", _by_row_groups
    yield "left_error", (u, q, 1 + rank), (per_left, q, 1 + rank), f8, "left", _by_row_groups
    stage, kept = ("tiles", kept) if plan.passes == 1 else ("project", rank)
    yield "B", (q, u, kept, v), (min(per_right, cols), rows, kept, v), dtype, stage, _by_tile_transposed
    yield "right_error", (q, u, 2 * rank), (per_right, u, 2 * rank), f8, "right", _by_column_groups
    if plan.passes == 2:
        yield "second", (u, q, 1), (rows, cols, 1), f8, "project", _by_tile
    _, *halves = plan.chain.cut(plan.layout.root)
    for side, half, groups, per_task, spans in (
        ("left", halves[0], u, per_left, _by_row_groups),
        ("right", halves[1], q, per_right, _by_column_groups),
    ):
        for index, pattern in enumerate(half):
            yield f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype, side, spans
        if (cuts := len(half) - 1) > 0:
            yield f"{side}_missed", (groups, cuts), (per_task, cuts), f8, side, spans
            yield f"{side}_least", (groups,), (per_task,), f8, side, spans


def _nested_rows(plan: Plan) -> Iterator[_Row]:
    """Rows of a run by nested skeletons."""
    assert plan.nested is not None
    assert plan.nested_steps is not None
    entries, dtype, root = plan.nested.task_entries, plan.source.work_dtype, plan.layout.root
    for step in plan.nested_steps.steps:
        tiles = step.tiles(entries)
        b, c = (step.candidates, step.digits * step.keep)[:: 1 if step.side == "rows" else -1]
        owners, fellows = (part.stop for part in tiles[0])
        yield (
            factor_name(step, root),
            (step.owners, b, c, step.fellows),
            (owners, b, c, fellows),
            dtype,
            step.name,
            _by_owners(tiles, (b, c)),
        )
        numbers = SKELETON + step.keep
        shape, chunks = (step.owners, step.digits, step.fellows, numbers), (owners, step.digits, fellows, numbers)
        yield f"skeletons/{step.name}", shape, chunks, np.float64, step.name, _by_owners(tiles, (step.digits,))
    step = plan.nested_steps.named(f"rows_{root}")
    tiles = plan.nested_steps.core_tiles(entries)
    b, c = step.candidates, step.digits * step.keep
    shape, chunks = (step.owners, b, c, step.fellows), (tiles[0][0].stop, b, c, step.fellows)
    yield f"factor/{step.factor}", shape, chunks, dtype, CORE, _by_owners(tiles, (b, c))


def _by_owners(tiles: list[tuple[slice, slice]], between: tuple[int, ...]) -> Spans:
    whole = tuple(slice(0, size) for size in between)
    return lambda _: [(owners, *whole, fellows) for owners, fellows in tiles]


def _by_task(tasks: int) -> Spans:
    return lambda _: [(slice(number, number + 1),) for number in range(tasks)]


def _whole(_: Plan) -> list[Selection]:
    return [(slice(0, 1),)]


def _by_panel(plan: Plan) -> list[Selection]:
    assert plan.copy is not None
    p, v = plan.copy.rows.members, plan.copy.cols.members
    return [(slice(t.r0 * p, t.r1 * p), slice(t.c0 * v, t.c1 * v)) for t in plan.panels]


def _by_tile(plan: Plan) -> list[Selection]:
    return [_groups(tile) for tile in plan.tiles]


def _by_tile_transposed(plan: Plan) -> list[Selection]:
    return [_groups(tile)[::-1] for tile in plan.tiles]


def _groups(tile: Tile) -> tuple[slice, slice]:
    return slice(tile.r0, tile.r1), slice(tile.c0, tile.c1)


def _by_row_groups(plan: Plan) -> list[Selection]:
    return [(slice(*span),) for span in plan.left_ranges]


def _by_column_groups(plan: Plan) -> list[Selection]:
    return [(slice(*span),) for span in plan.right_ranges]


def writers(plan: Plan, name: str, selection: Selection) -> tuple[str, list[int]]:
    """Stage and numbers of the tasks that wrote into a range of an array of the workspace."""
    array = workspace_arrays(plan)[name]
    return array.stage, [number for number, span in enumerate(array.spans(plan)) if _overlap(span, selection)]


def _overlap(span: Selection, selection: Selection) -> bool:
    """Whether two ranges have an entry in common; what one of them leaves out is taken whole."""
    return all(
        (b.start or 0) < a.stop and (b.stop is None or a.start < b.stop) for a, b in zip(span, selection, strict=False)
    )


def open_workspace(run: RunStore) -> Workspace:
    """Workspace of a stored run: for the rank that it has come to, where a tolerance may raise it."""
    manifest = run.manifest
    rank = manifest.first_rank if manifest.rank is None else manifest.rank
    if manifest.tol is None or rank is None or manifest.passes is None:
        return run.workspace
    return RankWorkspace(run.workspace, rank, shared_names(manifest.passes))


def count_ended(run: RunStore) -> dict[str, tuple[int, int]]:
    """Tasks that have ended, and tasks in all, of every stage of a stored run; none of what is being saved."""
    return {
        stage: (int(tasks - np.isnan(read_ended(run, stage, tasks)).any(axis=1).sum()), tasks)
        for stage, tasks in run.manifest.tasks.items()
    }


def read_ended(run: RunStore, stage: str, tasks: int) -> NDArray[np.float64]:
    """Records of the tasks of a stage of a stored run; NaN of those that have not ended."""
    try:
        return open_workspace(run).read_rows(done_name(stage), tasks)
    except CheckpointError:  # it is not there, or is made anew when the run goes on
        return np.full((tasks, len(Record._fields)), np.nan)
