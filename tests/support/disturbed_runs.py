"""One matrix in a Zarr array whose runs are disturbed: what was read, what was finished, in any process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.execution.task import Record
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.structure.tree import split_tree
from tests.support.comparisons import least_memory, memory_for, noisy_butterfly
from tests.support.logged_sources import hold_and_say, is_asked_twice, is_sampled


@dataclass(frozen=True, eq=False)
class Watched:
    """Entries of a Zarr array, with a line in a log for every tile that is asked for.

    Parameters
    ----------
    place : str
        Directory of the array.
    log : str
        File to which ``tile finished process`` is appended: its number, 1 if the run had it already, who asks.
    run : str
        Directory of the run's store.
    tiles : dict
        Number of the tile that begins at a row and column.
    seconds : float
        Time that a tile takes.
    gate : str
        File while which is there nobody gets a tile once ``after`` tiles have ended: the run is held in its middle.
    after : int
        Number of these tiles.
    """

    place: str
    log: str
    run: str
    tiles: dict[tuple[int, int], int]
    seconds: float = 0.0
    gate: str = ""
    after: int = 0

    def __repr__(self) -> str:
        return "watched"

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        if not self.is_sample(rows):
            number = self.tiles[int(rows[0]), int(cols[0])]
            with open(self.log, "a") as log:
                log.write(f"{number} {int(is_finished(self.run, number))} {os.getpid()}\n")
            self.meet(number)
            time.sleep(self.seconds)
            if os.path.exists(self.gate) and len(finished(self.run)) >= self.after:
                hold_and_say(self.gate)
        return np.asarray(zarr.open_array(self.place, mode="r").oindex[rows, cols])

    def meet(self, number: int) -> None:
        """What becomes of a worker that asks for a tile."""

    def is_sample(self, rows: NDArray[np.int64]) -> bool:
        """Whether these are the rows of a sample, or the few entries asked for twice, which are no tile."""
        return is_asked_twice(rows) or is_sampled(rows, zarr.open_array(self.place, mode="r").shape[0])


@dataclass(frozen=True, eq=False)
class Poisonous(Watched):
    """One tile raises, or takes more memory than there is, if a file says so."""

    poison: int = -1
    does: str = "/dev/null"

    def meet(self, number: int) -> None:
        if number != self.poison:
            return
        match Path(self.does).read_text():
            case "raise":
                raise ZeroDivisionError("no such entry")
            case "hoard":
                hoard = []
                while True:
                    hoard.append(np.ones(4 << 17))
                    time.sleep(0.01)


def hold_on_workers(client: Any, run: Path, gate: Path, after: int) -> None:
    """Have the workers of a cluster hold a run as :class:`Watched` does, however its matrix is given."""
    client.run(_hold_tiles, str(run), str(gate), after)


def _hold_tiles(run: str, gate: str, after: int) -> None:
    compute = TileTask.compute

    def behind_gate(self: TileTask, *arguments: Any) -> Any:
        if os.path.exists(gate) and len(finished(run)) >= after:
            hold_and_say(gate)
        return compute(self, *arguments)

    TileTask.compute = behind_gate  # type: ignore[method-assign]


@dataclass
class Trial:
    """A matrix, the arguments of its runs, and what each of them must give.

    Parameters
    ----------
    directory : Path
        Where the matrix is, or is put.
    side : int
        Rows, and columns, of the matrix: a power of two.
    """

    directory: Path
    side: int = 512

    def __post_init__(self) -> None:
        if not self.place.exists():
            dbf.matrices.write(noisy_butterfly((self.side, self.side)), self.place, chunks=(64, 64))

    @property
    def place(self) -> Path:
        """Directory of the Zarr array."""
        return self.directory / "z.zarr"

    @cached_property
    def tree(self) -> Any:
        """Where the chain is cut."""
        factors = self.side.bit_length() - 1
        return split_tree(factors, "balanced", factors // 2)

    @cached_property
    def expected(self) -> dbf.Factorization:
        """Result of an undisturbed run."""
        return dbf.factorize(self.place, tree=self.tree, workers=1)

    def plan(self, tiles: int = 64) -> dbf.Plan:
        """Plan of a run that reads ahead, with at most so many tiles, and not many fewer."""
        source = dbf.entries(_never, (self.side, self.side), np.float64)
        least = least_memory(source, tree=self.tree)
        for extra in range(10, 26):
            planned = dbf.plan(source, tree=self.tree, memory=least + (1 << extra), workers=2)
            if planned.tasks["tiles"] <= tiles and planned.layout.prefetch:
                assert planned.tasks["tiles"] > tiles // 4
                return planned
        raise AssertionError(f"no plan has {tiles} tiles")

    def arguments(self, tiles: int = 64, kind: str = "watched") -> dict[str, Any]:
        """Arguments of such a run; from Zarr, it has at most so many tiles but may not read ahead."""
        if kind == "zarr":
            return {"tree": self.tree, "memory": memory_for(tiles, self.place, tree=self.tree)}
        return {"tree": self.tree, "memory": self.plan(tiles).budget.memory}

    def watched(self, run: Path, kind: type[Watched] = Watched, tiles: int = 64, **options: Any) -> dbf.Entries:
        """The matrix by its entries; the log lies beside the run."""
        planned = self.plan(tiles)
        numbers = {
            (int(planned.rows.positions(t.r0, t.r1)[0]), int(planned.cols.positions(t.c0, t.c1)[0])): number
            for number, t in enumerate(planned.tiles)
        }
        entries = kind(str(self.place), f"{run}.log", str(run), numbers, **options)
        return dbf.entries(entries, (self.side, self.side), np.float64)


def _never(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    raise AssertionError("planning reads nothing")


# ---------------------------------------------------------------- what a run has left


def is_finished(run: Any, number: int) -> bool:
    """Whether the row of a tile says that it has ended."""
    return any(_holds_row(path) for path in Path(run).glob(f"work/*/done/tiles/c.{number}.0"))


def finished(run: Any) -> set[int]:
    """Numbers of the tiles that have ended."""
    found = Path(run).glob("work/*/done/tiles/c.*.0")
    return {int(path.name.split(".")[1]) for path in found if _holds_row(path)}


def _holds_row(path: Path) -> bool:
    size = 8 * len(Record._fields)
    row = path.read_bytes()[:size]
    return len(row) == size and bool(np.isfinite(np.frombuffer(row)).all())


def read(run: Path) -> list[int]:
    """Numbers of the tiles that were read, as often as they were."""
    return [number for number, _, _ in _lines(run)]


def read_in_vain(run: Path) -> list[int]:
    """Numbers of the tiles that were read although they had ended."""
    return [number for number, was_finished, _ in _lines(run) if was_finished]


def readers(run: Path) -> set[int]:
    """Processes that have read tiles."""
    return {process for _, _, process in _lines(run)}


def _lines(run: Path) -> list[tuple[int, int, int]]:
    log = Path(f"{run}.log")
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(number), int(was_finished), int(process)) for number, was_finished, process in map(str.split, lines)]
