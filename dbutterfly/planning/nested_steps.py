r"""The steps by which nested skeletons give the factors of a chain: integers only.

At a cut, a block is a row group R and a column group C. Its *row skeleton* is a few of its rows by which all others are
written, chosen by some columns of C, the *proxies*; its column skeleton likewise. The candidates are what is left of
finer groups::

    cut         row groups R     column groups C    row skeleton chosen among
    1           leaves           the largest        all rows of a leaf
    2           unions           their parts        the row skeletons of (each part of R, the union of C) at cut 1
    ...
    root        .                .                  and of the other side from the last cut to the root:
    last        the largest      leaves             column skeletons among all columns of a leaf, and so on

The coefficients of a step *are* a factor of the chain, in the layout of ``ks_values``; those of the root cut are
multiplied by the core, the crossings of row skeletons and column skeletons. With r lines in each skeleton, 2 r
candidates and some more proxies than r, a step evaluates about 2 r^2 entries of each of its N / g blocks, where g is
the size of a leaf: ``r^2 N log N`` in all, up to a constant.
(Pang, Ho and Yang, "Interpolative decomposition butterfly factorization", SIAM J. Sci. Comput. 42, 2020.)

Arrays of a step have the *owner* as the first axis and the *fellow* as the last, as its factor ``(a, b, c, d)`` has::

    side   outer groups (each has proxies)    inner groups        owner              fellow
    rows   C = (owner, digit n)               R = fellow          groups of C before  R
    cols   R = (digit m, fellow)              C = owner           C                  groups of R before
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..structure.chain import Chain

__all__ = ["CALL_ENTRIES", "CORE", "NUMBERS", "NestedSteps", "Step", "count_checks", "count_proxies"]

CORE = "core"
"""Name of the last stage."""

NUMBERS = 5
"""Numbers that are kept of every block beside its skeleton."""

CALL_ENTRIES = 1 << 16
"""Entries evaluated by a call of the function at most, those of one block at least.

Not tuned: 1 MiB of complex128, which a cache holds. Calls do not depend on how steps are cut into tasks, so that
functions which round differently in other shapes give the same bits on any cluster.
"""


def count_proxies(size: int) -> int:
    """Lines by which a skeleton of so many lines is chosen.

    Measured: with 8 more, the error of Helmholtz and Fourier integral kernels (N = 4096, tolerances 1e-4 to 1e-12) is
    what the steps leave; twice as many change nothing. Waves between plates in space (ranks of 50) need half as many
    more: with 8, few lines hold an error that is three times as large as an estimate says.
    """
    return size + max(min(8, 4 + size // 4), size // 2)


def count_checks(size: int) -> int:
    """Lines that are drawn apart from the proxies, and say whether the coefficients hold there. Not tuned."""
    return 2 if size <= 8 else 4


class Step(NamedTuple):
    """One cut, seen from one side.

    Attributes
    ----------
    side : {"rows", "cols"}
        Which skeletons are chosen.
    cut : int
        Number of factors to the left of the cut.
    factor : int
        Number of the factor that the coefficients make, from 0.
    owners, digits, fellows : int
        Sizes of the axes that groups lie along: outer groups are ``owners * digits`` of rows and ``digits * fellows``
        of columns.
    radix : int
        Finer groups whose skeletons make the candidates.
    before, keep : int
        Capacity of a skeleton of the finer groups, and of this step.
    size : int
        Rows or columns of an outer group, among which its proxies are.
    """

    side: str
    cut: int
    factor: int
    owners: int
    digits: int
    fellows: int
    radix: int
    before: int
    keep: int
    size: int

    @property
    def name(self) -> str:
        """Name of the stage."""
        return f"{self.side}_{self.cut}"

    @property
    def candidates(self) -> int:
        """Lines among which a skeleton is chosen, at most."""
        return self.before * self.radix

    @property
    def proxies(self) -> int:
        """Lines of an outer group that are evaluated: proxies and checks."""
        largest = min(self.keep, self.candidates)
        return min(self.size, count_proxies(largest) + count_checks(largest))

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.owners * self.digits * self.fellows

    @property
    def entries(self) -> int:
        """Entries that are evaluated, at most, unless blocks are rejected."""
        return self.blocks * self.block_entries

    @property
    def block_entries(self) -> int:
        """Entries of a block that are evaluated."""
        return self.candidates * self.proxies

    @property
    def values(self) -> int:
        """Values of all coefficients."""
        return self.blocks * self.candidates * self.keep

    @property
    def per_call(self) -> int:
        """Inner groups that a call of the function takes."""
        return max(1, CALL_ENTRIES // self.block_entries)

    def tiles(self, entries: int) -> list[tuple[slice, slice]]:
        """Owners and fellows of tasks that evaluate about so many entries, in whole calls."""
        along_inner = max(1, entries // (self.block_entries * self.digits))
        if self.side == "rows":
            fellows = min(self.fellows, max(self.per_call, along_inner // self.per_call * self.per_call))
            owners = max(1, along_inner // fellows)
        else:
            owners = min(self.owners, max(self.per_call, along_inner // self.per_call * self.per_call))
            fellows = max(1, along_inner // owners)
        return [
            (slice(a, min(a + owners, self.owners)), slice(d, min(d + fellows, self.fellows)))
            for a in range(0, self.owners, owners)
            for d in range(0, self.fellows, fellows)
        ]


@dataclass(frozen=True)
class NestedSteps:
    """All steps of a chain.

    Attributes
    ----------
    chain : Chain
        The chain: its digits count, not its ranks.
    root : int
        Cut at which the two sides meet.
    capacities : tuple of int
        Largest size of a skeleton at each cut.
    """

    chain: Chain
    root: int
    capacities: tuple[int, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Steps of the rows, then those of the columns."""
        return (*self._row_steps(), *self._col_steps())

    def _row_steps(self) -> Iterator[Step]:
        padded = (1, *self.capacities)
        for cut in range(1, self.root + 1):
            before, after = self._groups(cut - 1), self._groups(cut)
            yield Step(
                side="rows",
                cut=cut,
                factor=cut - 1,
                owners=before[1],
                digits=after[1] // before[1],
                fellows=after[0],
                radix=before[0] // after[0],
                before=padded[cut - 1],
                keep=self.capacities[cut - 1],
                size=self.chain.shape[1] // after[1],
            )

    def _col_steps(self) -> Iterator[Step]:
        padded = (*self.capacities, 1)
        for cut in range(len(self.chain) - 1, self.root - 1, -1):
            here, after = self._groups(cut), self._groups(cut + 1)
            yield Step(
                side="cols",
                cut=cut,
                factor=cut,
                owners=here[1],
                digits=here[0] // after[0],
                fellows=after[0],
                radix=after[1] // here[1],
                before=padded[cut],
                keep=self.capacities[cut - 1],
                size=self.chain.shape[0] // here[0],
            )

    def _groups(self, cut: int) -> tuple[int, int]:
        """Row groups and column groups of a cut; of none and of all factors, single rows and single columns."""
        rows, cols = self.chain.row_radices[cut:], self.chain.col_radices[:cut]
        return math.prod(rows), math.prod(cols)

    def named(self, name: str) -> Step:
        """Step of a stage."""
        return next(step for step in self.steps if step.name == name)

    def before(self, step: Step) -> Step | None:
        """Step whose skeletons are the candidates of another one; None at the leaves."""
        at = step.cut - 1 if step.side == "rows" else step.cut + 1
        return next((other for other in self.steps if (other.side, other.cut) == (step.side, at)), None)

    @property
    def entries(self) -> int:
        """Entries that all steps and the core evaluate, at most, unless blocks are rejected."""
        return sum(step.entries for step in self.steps) + self.core_entries

    @property
    def core_entries(self) -> int:
        """Entries of the core, at most."""
        root = self.named(f"rows_{self.root}")
        return root.blocks * root.keep**2

    def count_tasks(self, entries: int) -> dict[str, int]:
        """Tasks of every stage that evaluate about so many entries each."""
        found = {step.name: len(step.tiles(entries)) for step in self.steps}
        return {**found, CORE: len(self.core_tiles(entries))}

    def bytes_written(self, itemsize: int) -> int:
        """Bytes that tasks write: coefficients, those of the root cut with the core, numbers and skeletons."""
        values = sum(step.values for step in self.steps) + self.named(f"rows_{self.root}").values
        return values * itemsize + 8 * sum(step.blocks * (NUMBERS + step.keep) for step in self.steps)

    def core_tiles(self, entries: int) -> list[tuple[slice, slice]]:
        """Owners, and all fellows, of the tasks of the core, which evaluate about so many entries."""
        root = self.named(f"rows_{self.root}")
        per_owner = root.digits * root.fellows * root.keep * (root.keep + root.candidates)
        owners = max(1, entries // per_owner)
        return [(slice(a, min(a + owners, root.owners)), slice(0, root.fellows)) for a in range(0, root.owners, owners)]
