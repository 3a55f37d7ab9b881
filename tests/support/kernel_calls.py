"""A call of every public kernel, for arrays of any namespace and device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dbutterfly.kernels import linalg, orthonormal
from dbutterfly.kernels.factors import cut_bounds, cut_spaces, halves, hierarchy, nodes, product_rows, rounding, sweeps
from dbutterfly.kernels.grouping import groups, pairs, panels, similarity
from dbutterfly.kernels.low_rank import (
    cross,
    gram_parts,
    gram_powers,
    most_captured,
    nystrom,
    pivots,
    ranges,
    rank_one,
    rank_one_grid,
    spectra,
    stacks,
    subspace,
    truncated,
)
from dbutterfly.kernels.low_rank import grid as blocks
from dbutterfly.kernels.low_rank.skeletons import interpolative
from dbutterfly.kernels.products import fusion, ksmm, packed
from dbutterfly.structure.chain import Chain, Cut
from dbutterfly.structure.tree import split_tree, tree_leaves

ANSWERS = ("none", "ends", "all")
"""Which entries of a mask are true, as a device may answer: none, the first and the last one, or all."""

FULL = ("all",)
"""Where every block needs more, a kernel works on stacks of them, and asks about each."""

MUCH = 1 << 20
"""Bytes of a stack that holds all blocks of a call."""

CHAINS = {"rank 1": Chain.square_dyadic(16), "rank 2": Chain.chainable((16, 32), rank=2)}


@dataclass(frozen=True)
class Place:
    """Namespace, device and dtype of the arrays of a call.

    Attributes
    ----------
    xp : module
        Namespace.
    put : callable
        Makes an array there of one of NumPy.
    name : str
        Name of the dtype of entries.
    many : int
        Factor on the sizes over which a kernel has a loop, or a stack.
    """

    xp: Any
    put: Callable[[Any], Any]
    name: str
    many: int = 1

    @property
    def dtype(self) -> Any:
        """The dtype of entries in the namespace."""
        return getattr(self.xp, self.name)

    def entries(self, *shape: int) -> Any:
        """Normal numbers."""
        real, imag = np.random.default_rng(0).standard_normal((2, *shape))
        return self.put((real + 1j * imag if np.dtype(self.name).kind == "c" else real).astype(self.name))

    def energies(self, *shape: int) -> Any:
        """Positive numbers in double precision."""
        return self.put(np.random.default_rng(1).random(shape) + 0.5)

    def places(self, below: int, *shape: int) -> Any:
        """Numbers from 0, along the last axis all different."""
        order = np.random.default_rng(2).permuted(np.broadcast_to(np.arange(below), (*shape[:-1], below)), axis=-1)
        return self.put(np.ascontiguousarray(order[..., : shape[-1]]))

    def factors(self, chain: Chain, count: int | None = None) -> list[Any]:
        """Factors of a chain, or stacks of ``count`` of them."""
        return [self.entries(*(() if count is None else (count,)), *pattern) for pattern in chain]

    def rank_ones(self, count: int) -> rank_one.RankOne:
        """Approximations of blocks of shape (6, 9)."""
        return rank_one.RankOne(self.entries(count, 6), self.entries(count, 9), *(self.energies(count),) * 3)

    def crosses(self) -> cross.Cross:
        """Approximations of rank 2 of a grid of blocks of shape (12, 15)."""
        lead = (2 * self.many, 3)
        parts = self.entries(*lead, 2, 12), self.entries(*lead, 2, 15), self.energies(*lead, 2)
        return cross.Cross(*parts, self.energies(*lead), self.energies(*lead))

    def sketches(self) -> nystrom.Sketched:
        """Approximations of rank 2 of blocks of shape (12, 15)."""
        count = 4 * self.many
        return nystrom.Sketched(self.entries(count, 2, 12), self.entries(count, 2, 15), self.energies(count, 2))


@dataclass(frozen=True)
class Call:
    """One way to call a kernel.

    Attributes
    ----------
    kernel : callable
        The public function.
    given : callable
        Makes the arguments at a place: positional ones, and a dictionary of the others as the last.
    label : str
        Words that tell this call from others of the same kernel.
    waits : int
        How often the host waits for a device, where nothing that it asks is true.
    by_stack : tuple of str
        Answers (``ANSWERS``) for which it waits for every stack of blocks, and not once for all of them.
    then : callable
        Makes of the result what is compared.
    """

    kernel: Callable[..., Any]
    given: Callable[[Place], tuple[Any, ...]]
    label: str = ""
    waits: int = 0
    by_stack: tuple[str, ...] = ()
    then: Callable[[Any], Any] = field(default=lambda found: found)

    def __str__(self) -> str:
        return f"{self.kernel.__name__} {self.label}".strip()

    def __call__(self, place: Place) -> Any:
        """Call the kernel with arrays of a place."""
        given = self.given(place)
        keywords = given[-1] if isinstance(given[-1], dict) else {}
        return self.then(self.kernel(*given[: len(given) - bool(keywords)], **keywords))


def cross_of(place: Place, count: int) -> tuple[Any, ...]:
    """Arguments of ``cross_grid`` for blocks of shape (12, 15)."""
    lead = (2 * place.many, 3)
    return (
        lambda index: place.entries(*index.shape, 12),
        lambda index: place.entries(*index.shape, 15),
        place.places(15, *lead, 4),
        (place.energies(*lead, 12), place.energies(*lead, 15)),
        {"rank": 2, "count": count},
    )


def packed_of(place: Place, patterns: list[tuple[int, int, int, int]], ordered: bool = False) -> packed.Packed:
    """Factors made ready for ``multiply``."""
    rows, cols = Chain(patterns).shape
    orders = {"rows": place.places(rows, rows), "cols": place.places(cols, cols)} if ordered else {}
    return packed.pack(place.factors(Chain(patterns)), place.dtype, **orders)


def one_junction(rank: int) -> Chain:
    """A chain of two factors."""
    return Chain([(1, 8, 4 * rank, 8), (4, 8 * rank, 8, 1)])


BLOCKS = [
    Call(rank_one.rank_one, lambda on: (on.entries(4 * on.many, 6, 9),), "wide", 3),
    Call(rank_one.rank_one, lambda on: (on.entries(4 * on.many, 9, 6),), "tall", 3),
    Call(rank_one.rank_one, lambda on: (on.entries(4 * on.many, 2, 2500),), "long", 3),
    Call(linalg.safe_range, lambda on: (on.entries(4, 6, 9),)),
    Call(linalg.multiply_thin, lambda on: (on.entries(4, 5, 1), on.entries(4, 1, 3)), "outer"),
    Call(linalg.multiply_thin, lambda on: (on.entries(4, 5, 2), on.entries(4, 2, 3))),
    Call(linalg.has_cancelled, lambda on: (on.energies(4), on.energies(4), on.dtype)),
    Call(
        rank_one.rank_one_by_gram,
        lambda on: (on.entries(4 * on.many, 6, 9), on.rank_ones(4 * on.many)),
        "",
        2,
    ),
    Call(
        rank_one.rank_one_by_gram,
        lambda on: (
            on.entries(2, 128, 130),
            rank_one.RankOne(on.entries(2, 128), on.entries(2, 130), *(16640 * on.energies(2),) * 3),
        ),
        "of large blocks",
        2,
    ),
    Call(gram_parts.bound_by_parts, lambda on: (on.entries(2, 130, 128),), "tall"),
    Call(gram_parts.has_parts, lambda on: (on.entries(3, 128, 130).shape,)),
    Call(gram_powers.diagonal, lambda on: (on.entries(3, 5, 5),)),
    Call(
        gram_powers.top_vector,
        lambda on: (on.entries(3, 5, 4) @ on.entries(3, 4, 5), 1, *(25 * on.energies(3),) * 3),
        "",
        1,
    ),
    Call(rank_one.is_settled, lambda on: (*(on.energies(4),) * 4, on.dtype)),
    Call(rank_one.slack_bound, lambda on: (on.energies(4), on.energies(4), on.energies(4))),
    Call(linalg.replace, lambda on: (on.rank_ones(4), on.put(np.ones(4, bool)), on.rank_ones(4))),
    Call(linalg.replace_rows, lambda on: (on.entries(4, 3), on.put(np.ones(4, bool)), on.entries(4, 3))),
    Call(
        linalg.residual_energy,
        lambda on: (on.entries(9 * on.many, 6, 9), on.entries(9 * on.many, 6, 1), on.entries(9 * on.many, 1, 9)),
        "rank 1",
    ),
    Call(
        linalg.residual_energy,
        lambda on: (on.entries(9 * on.many, 6, 9), on.entries(9 * on.many, 6, 2), on.entries(9 * on.many, 2, 9)),
        "rank 2",
    ),
    Call(linalg.squared_norms, lambda on: (on.entries(3, 4, 5),)),
    Call(linalg.squared_norms, lambda on: (on.entries(3, 1024 * 2 * on.many + 7),), "long"),
    Call(linalg.adjoint, lambda on: (on.entries(3, 4, 5),)),
    Call(linalg.normal_divisor, lambda on: (on.entries(3).real,)),
    Call(linalg.nonzero_divisor, lambda on: (on.energies(3), on.entries(2))),
    Call(orthonormal.orthonormalizers, lambda on: (on.entries(4 * on.many, 9, 1),), "rank 1"),
    Call(orthonormal.orthonormalizers, lambda on: (on.entries(4 * on.many, 9, 3),), "rank 3", 1),
    Call(subspace.best_subspaces, lambda on: (on.entries(4 * on.many, 12, 15), (1, 2)), "", 4),
    Call(subspace.best_subspaces, lambda on: (on.entries(4 * on.many, 4, 15), (2,)), "few rows", 4),
    Call(
        subspace.best_subspaces, lambda on: (on.entries(4 * on.many, 15, 2), (1, 3)), "fewer columns than the rank", 4
    ),
    Call(
        most_captured.bound_captured,
        lambda on: (
            on.entries(4 * on.many, 12, 15),
            on.entries(4 * on.many, 12, 5),
            on.energies(4 * on.many, 5),
            (1, 2),
            on.energies(4 * on.many, 2),
        ),
        "",
        1,
    ),
    Call(linalg.tame, lambda on: (on.entries(4 * on.many, 6, 9),), "", 1),
    Call(linalg.pad, lambda on: (on.entries(4, 2, 9), 3), "more"),
    Call(linalg.pad, lambda on: (on.entries(4, 3, 9), 2), "fewer"),
    Call(ranges.leading_ranges, lambda on: (on.entries(4 * on.many, 12, 15), 2), "", 3),
    Call(ranges.leading_ranges, lambda on: (on.entries(4 * on.many, 2, 15), 3), "fewer rows than the rank"),
    Call(ranges.leading_ranges, lambda on: (on.entries(4 * on.many, 15, 2), 3), "fewer columns than the rank", 1),
    Call(ranges.weighted_ranges, lambda on: (on.entries(4 * on.many, 12, 15), 2), "", 2),
    Call(ranges.weighted_ranges, lambda on: (on.entries(4 * on.many, 4, 15), 2), "few rows", 1),
    Call(
        nystrom.nystrom,
        lambda on: (on.entries(4 * on.many, 3, 12), on.entries(4 * on.many, 6, 15), on.entries(1, 12, 6), 2),
    ),
    Call(
        nystrom.probed_energies,
        lambda on: (on.sketches(), on.entries(1, 2, 15), on.entries(4 * on.many, 2, 12), (1, 2)),
    ),
    Call(pivots.pivots, lambda on: (on.entries(3, 4, 12), 3 * on.many, on.energies(3, 12))),
    Call(
        pivots.pivots,
        lambda on: (on.entries(3, 4, 12), 2 * on.many, on.energies(3, 12), on.places(12, 3, 4)),
        "without",
    ),
    Call(pivots.pivots, lambda on: (on.entries(3, 4, 12), 0, on.energies(3, 12)), "none"),
    Call(spectra.trailing_energies, lambda on: (on.entries(4 * on.many, 6, 9), 2)),
    Call(spectra.shrink_leading, lambda on: (on.entries(4 * on.many, 6, 9), 2, 1.0), "wide", 1),
    Call(spectra.shrink_leading, lambda on: (on.entries(4 * on.many, 9, 2), 3, 1.0), "fewer columns than the rank"),
    Call(pivots.column_squares, lambda on: (on.entries(3, 4, 5),)),
    Call(pivots.take_entries, lambda on: (on.entries(3, 4, 12), on.places(12, 3, 5))),
]
"""Kernels of stacks of blocks."""

GRIDS = [
    Call(
        rank_one_grid.rank_one_grid,
        lambda on: (on.entries(4 * on.many, 6, 6, 9), {"dtype": on.dtype, "stack_bytes": MUCH}),
        "one stack of small blocks",
        2,
    ),
    Call(
        rank_one_grid.rank_one_grid,
        lambda on: (on.entries(4 * on.many, 6, 10, 9), {"dtype": on.dtype, "stack_bytes": 12 * 90 * 16}),
        "stacks",
        2,
        FULL,
    ),
    Call(
        rank_one_grid.rank_one_grid,
        lambda on: (
            on.entries(4 * on.many, 6, 6, 9),
            {"dtype": on.dtype, "stack_bytes": 12 * 54 * 16, "certified": False},
        ),
        "uncertified stacks of small blocks",
        1,
        FULL,
    ),
    Call(stacks.spans_of, lambda on: ([on.entries(2, 3, 6, 9), on.entries(1, 3, 6, 9)],)),
    Call(
        stacks.stacks_of,
        lambda on: (on.entries(4 * on.many, 6, 6, 9), on.dtype, 4 * 54 * 16),
        then=lambda found: [found[1](part) for part in found[0]],
    ),
    Call(
        blocks.low_rank_grid,
        lambda on: (on.entries(4 * on.many, 6, 6, 9), (1,), {"dtype": on.dtype, "stack_bytes": 12 * 54 * 16}),
        "rank 1",
        2,
        FULL,
    ),
    Call(
        blocks.low_rank_grid,
        lambda on: (on.entries(4 * on.many, 6, 12, 15), (1, 2), {"dtype": on.dtype, "stack_bytes": 100 * MUCH}),
        "rank 2, one stack",
        4,
    ),
    Call(
        blocks.low_rank_grid,
        lambda on: (on.entries(on.many, 2, 12, 15), (1, 2), {"dtype": on.dtype, "stack_bytes": 1}),
        "rank 2, stacks",
        8,
        ANSWERS,
    ),
    Call(
        blocks.left_parts,
        lambda on: (on.entries(4 * on.many, 6, 6, 9), 1, {"stack_bytes": 12 * 54 * 16}),
        "rank 1",
        1,
        FULL,
    ),
    Call(
        blocks.left_parts, lambda on: (on.entries(on.many, 6, 12, 15), 2, {"stack_bytes": MUCH}), "rank 2, one stack", 2
    ),
    Call(
        blocks.left_parts,
        lambda on: (on.entries(on.many, 2, 12, 15), 2, {"stack_bytes": 1}),
        "rank 2, stacks",
        4,
        ANSWERS,
    ),
    Call(
        blocks.left_parts,
        lambda on: (on.entries(on.many, 6, 12, 15), 2, {"stack_bytes": MUCH, "weighted": False}),
        "range of rank 2",
        3,
    ),
    Call(cross.cross_grid, lambda on: cross_of(on, 5)),
    Call(cross.cross_grid, lambda on: cross_of(on, 11), "all columns"),
    Call(
        cross.sampled_residual,
        lambda on: (
            on.crosses(),
            on.entries(2 * on.many, 3, 5, 4),
            on.places(12, 2 * on.many, 1, 5),
            on.places(15, 2 * on.many, 3, 4),
        ),
    ),
    Call(interpolative.interpolate, lambda on: (on.entries(on.many, 12, 9), 5, on.energies(on.many)), "", 2),
    Call(interpolative.remainders, lambda on: (on.entries(on.many, 12, 9), 5, on.energies(on.many)), "", 2),
    Call(
        interpolative.interpolation_residual,
        lambda on: (
            interpolative.interpolate(on.entries(on.many, 12, 9), 5, on.energies(on.many)),
            on.entries(on.many, 4, 9),
        ),
        "",
        2,
    ),
    Call(truncated.energy_of, lambda on: (on.entries(12, 9),), "", 1),
    Call(truncated.cut_rank, lambda on: (on.entries(12, 4), on.entries(4, 9), (2.0, 1.0), 2), "", 1),
    Call(truncated.low_rank_of, lambda on: (on.entries(12, 9), 2), "", 3),
    Call(truncated.low_rank_within, lambda on: (on.entries(12, 9), 1e9, 2), "rank zero", 1),
    Call(truncated.low_ranks_within, lambda on: (on.entries(3, 12, 9), 1e9, 2), "rank zero", 1),
    Call(truncated.low_ranks_within, lambda on: (on.entries(3, 12, 9), 0.0, 2), "hopeless", 2),
    Call(truncated.low_rank_within, lambda on: (on.entries(12, 9), 0.0, 2), "hopeless", 2),
    Call(
        cross.has_unseen_residual, lambda on: (on.crosses(), on.energies(2 * on.many, 3), on.energies(2 * on.many, 3))
    ),
]
"""Kernels of grids of blocks."""

ORDERINGS = [
    Call(groups.transpose_grid, lambda on: (on.entries(2, 3, 12, 8),)),
    Call(groups.block_view, lambda on: (on.entries(2, 3, 12, 8), 3, 2)),
    Call(groups.leading_rows, lambda on: (on.entries(3, 6, 8), 1, 2 * on.many), "rank 1"),
    Call(groups.leading_rows, lambda on: (on.entries(3, 6, 8), 2, 2 * on.many), "rank 2"),
    Call(groups.fit_rows, lambda on: (on.entries(2 * on.many, 3, 12, 8), 3, 2, 1), "rank 1"),
    Call(groups.fit_rows, lambda on: (on.entries(2, 3, 12, 8), 3, 2, 1, {"leave_out": True}), "leave out"),
    Call(groups.fit_rows, lambda on: (on.entries(2, 3, 12, 8), 3, 2, 2, {"lines": 2}), "rank 2, two lines"),
    Call(
        groups.fit_rows, lambda on: (on.entries(1, 1, 1024, 512 * on.many), 32, 128 * on.many, 2), "in ranges of groups"
    ),
    Call(groups.block_parts, lambda on: (on.entries(2, 3, 12, 8), 3, 2, 1), "rank 1"),
    Call(groups.block_parts, lambda on: (on.entries(2, 3, 12, 8), 3, 2, 2), "rank 2"),
    Call(groups.permute_rows, lambda on: (on.entries(1, 3, 12, 8), on.places(12, 1, 12)), "one matrix"),
    Call(groups.permute_rows, lambda on: (on.entries(2, 3, 12, 8), on.places(6, 2, 6), {"lines": 2}), "two lines"),
    Call(groups.unit_rows, lambda on: (on.entries(2, 3, 8),)),
    Call(groups.squared_moduli, lambda on: (on.entries(2, 3, 8),)),
    Call(pairs.two_line_fits, lambda on: (on.entries(2, 1, 8), on.entries(2, 6, 8))),
    Call(pairs.pair_residuals, lambda on: (on.entries(2 * on.many, 3, 12, 8), 3)),
    Call(pairs.pair_residuals, lambda on: (on.entries(1, 1, 4, 520 * on.many), 2), "in tiles"),
    Call(panels.fit_panel, lambda on: (on.entries(5, 12), on.entries(3, 4, 6), 3), "best group"),
    Call(
        panels.fit_panel,
        lambda on: (on.entries(5, 12), on.entries(3, 4, 6), 3, on.places(3, 5, 1)[:, 0]),
        "given group",
    ),
    Call(panels.row_basis, lambda on: (on.entries(3, 4, 2, 5),)),
    Call(panels.orthonormal_parts, lambda on: (on.entries(12, 4 * on.many, 1), 3), "rank 1"),
    Call(panels.orthonormal_parts, lambda on: (on.entries(12, 4 * on.many, 2), 3), "rank 2", 1),
    Call(similarity.row_similarity, lambda on: (on.entries(2, 3, 12, 8 * on.many), 2 * on.many, 1.0)),
    Call(
        similarity.row_similarity,
        lambda on: (on.entries(2, 3, 12, 8), 4, 3.0, {"lines": 2, "sample": [0, 2]}),
        "two lines",
    ),
    Call(
        similarity.landmark_similarity,
        lambda on: (on.entries(5, 8 * on.many), on.entries(3, 8 * on.many), 4 * on.many, 2.0),
    ),
]
"""Kernels by which orderings are found."""

HIERARCHIES = [
    Call(hierarchy.left_matrices, lambda on: (on.entries(4, 3, 2, 5),)),
    Call(nodes.project_node, lambda on: (on.entries(6, 5, 8), on.entries(6, 4, 5, 7), Cut(5, 3, 4, 7, 2))),
    Call(nodes.multiply_node, lambda on: (on.entries(6, 5, 8), on.entries(8, 6, 7), Cut(5, 3, 4, 7, 2))),
    Call(nodes.left_rows, lambda on: (on.entries(4, 5, 6), 2)),
    Call(nodes.right_matrices, lambda on: (on.entries(2, 3, 4, 2, 5),)),
    Call(nodes.right_rows, lambda on: (on.entries(6, 8, 5), 3, 2)),
    Call(hierarchy.join_left, lambda on: (on.entries(6, 2, 3, 4, 5), 3)),
    Call(hierarchy.part_left, lambda on: (on.entries(2, 2, 3, 4, 15), 3)),
    Call(hierarchy.join_right, lambda on: (on.entries(6, 2, 3, 4, 5), 3)),
    Call(hierarchy.part_right, lambda on: (on.entries(2, 6, 3, 4, 5), 3)),
    Call(hierarchy.multiply_blocks, lambda on: ([on.entries(4, 1, 3, 6, 1)], on.entries(12, 2, 2))),
    Call(
        hierarchy.orthonormal_columns,
        lambda on: (
            hierarchy.Factored(
                [on.entries(4 * on.many, 1, 8, 6, 1)],
                on.entries(4 * on.many, 8, 6),
                on.energies(4 * on.many, 0),
                on.energies(4 * on.many),
            ),
            2,
        ),
        "",
        1,
    ),
    Call(
        cut_spaces.remove_spaces,
        lambda on: (
            on.entries(4 * on.many, 6, 9),
            cut_spaces.CutSpaces(on.entries(4 * on.many, 6, 2), on.entries(4 * on.many, 2, 9)),
        ),
    ),
    Call(cut_bounds.may_tell_more, lambda on: (*(on.energies(5 * on.many) for _ in range(3)), 2e-16)),
    Call(cut_bounds.least_of_blocks, lambda on: (on.entries(6 * on.many, 5, 4), 2)),
    Call(
        cut_bounds.join_bounds,
        lambda on: (on.energies(2 * on.many, 3, 4), on.energies(6 * on.many), on.energies(8 * on.many)),
    ),
    Call(hierarchy.insert_top, lambda on: (on.energies(3 * on.many, 2), on.energies(3 * on.many), ((0, 1), (2, 3)))),
]
WAITS_OF_LEFT, WAITS_OF_RIGHT = {"rank 1": 1, "rank 2": 2}, {"rank 1": 1, "rank 2": 3}
"""Of the node of a half of two factors; of rank 2, the left half is one factor, whose columns are made orthonormal."""

for name, chain in CHAINS.items():
    rank, tree = chain.rank, split_tree(len(chain))
    cut, left, right = chain.cut(len(tree_leaves(tree[0])))
    HIERARCHIES += [
        Call(
            halves.fit_left_halves,
            lambda on, cut=cut, left=left, tree=tree[0]: (
                on.entries(cut.u * on.many, cut.q, cut.rank, cut.p),
                left,
                tree,
                cut.rank,
                {"stack_bytes": MUCH},
            ),
            name,
            WAITS_OF_LEFT[name],
        ),
        Call(
            halves.fit_right_halves,
            lambda on, cut=cut, right=right, tree=tree[1]: (
                on.entries(2 * on.many, cut.q, cut.u, cut.rank, cut.v),
                right,
                tree,
                {"stack_bytes": MUCH},
            ),
            name,
            WAITS_OF_RIGHT[name],
        ),
        Call(
            hierarchy.factor_stack,
            lambda on, chain=chain, tree=tree: (
                on.entries(2 * on.many, *chain.shape),
                chain,
                tree,
                {"stack_bytes": MUCH},
            ),
            name,
            3 if rank == 1 else 5,
        ),
        Call(
            hierarchy.factor_stack,
            lambda on, chain=chain, tree=tree: (
                on.entries(2 * on.many, *chain.shape),
                chain,
                tree,
                {"stack_bytes": 1 << 10},
            ),
            f"{name}, stacks",
            3 if rank == 1 else 6,
            FULL if rank == 1 else ANSWERS,
        ),
        Call(
            hierarchy.multiply_stack,
            lambda on, chain=chain, tree=tree: (on.factors(chain, 2 * on.many), chain, tree),
            name,
        ),
        Call(
            sweeps.sweep,
            lambda on, chain=chain, tree=tree: (
                on.entries(2 * on.many, *chain.shape),
                on.factors(chain, 2 * on.many),
                chain,
                tree,
            ),
            name,
            0 if rank == 1 else 6,
        ),
        Call(
            cut_spaces.find_cut_spaces,
            lambda on, chain=chain: (on.factors(chain, 1), chain, len(chain) // 2),
            name,
            0 if rank == 1 else 2,
        ),
        Call(product_rows.product_rows, lambda on, chain=chain: (on.factors(chain), chain, [5, 0, 6]), name),
        Call(product_rows.product_columns, lambda on, chain=chain: (on.factors(chain), chain, [5, 0, 6]), name),
        Call(fusion.fuse_factors, lambda on, chain=chain: (on.factors(chain)[:2],), name),
        Call(ksmm.dense_product, lambda on, chain=chain: (on.factors(chain),), name),
        Call(rounding.product_norm, lambda on, chain=chain: (on.factors(chain), chain), name, 1),
    ]
"""Kernels that find the factors of a chain, or work on them."""

PRODUCTS = [
    Call(
        rounding.round_product,
        lambda on: (on.factors(one_junction(2 * on.many)), one_junction(2 * on.many), 1e-3),
        "",
        3,
    ),
    Call(
        rounding.truncate_product,
        lambda on: (on.factors(one_junction(2 * on.many)), one_junction(2 * on.many), (1,)),
        "",
        1,
        then=ksmm.dense_product,
    ),
    Call(ksmm.apply_chain, lambda on: (on.factors(CHAINS["rank 2"]), on.entries(32, 2 * on.many))),
    Call(ksmm.apply_factor, lambda on: (on.entries(2, 3, 4, 5), on.entries(40, 1)), "one column"),
    Call(ksmm.apply_factor, lambda on: (on.entries(2, 3, 9 * on.many, 5), on.entries(90 * on.many, 7)), "matrices"),
    Call(packed.pack, lambda on: (on.factors(CHAINS["rank 2"]), on.dtype)),
    Call(
        packed.pack,
        lambda on: (on.factors(CHAINS["rank 1"]), on.dtype, on.places(16, 16), on.places(16, 16)),
        "ordered",
    ),
    Call(
        packed.multiply,
        lambda on: (packed_of(on, [(1, 2, 2, 3000 * on.many)]), on.entries(6000 * on.many, 1)),
        "one column",
    ),
    Call(
        packed.multiply,
        lambda on: (packed_of(on, [(3, 2, 3, 70), (9, 7, 5, 10)], True), on.entries(450, 3), {"conjugated": True}),
        "few columns, ordered",
    ),
    Call(
        packed.multiply,
        lambda on: (
            packed_of(on, [(1, 20, 30, 4), (6, 20, 18, 1)], True),
            on.entries(80, 6 * on.many),
            {"transposed": True},
        ),
        "many columns, ordered, transposed",
    ),
    Call(
        packed.multiply,
        lambda on: (packed_of(on, [(1, 20, 30, 4), (6, 20, 18, 1)]), on.entries(108, 6), on.entries(80, 6)),
        "into an array",
    ),
    Call(packed.multiply, lambda on: (packed_of(on, [(1, 20, 30, 4)]), on.entries(120, 1)), "large matrices"),
]
"""Kernels that multiply."""

CALLS = [*BLOCKS, *GRIDS, *ORDERINGS, *HIERARCHIES, *PRODUCTS]
