import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbutterfly.errors import MemoryBudgetError
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.planning.tilings import SearchSpace, cost_of_halves, enumerate_tilings, root_position
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.axes import chunk_edges
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.padding import place
from dbutterfly.structure.tree import split_tree

MIB = 1 << 20


@st.composite
def spaces(draw):
    """What a search is given: stored matrices of up to 400 rows, in any order, and budgets from too little to ample."""
    radices = st.lists(st.sampled_from([2, 2, 3, 5]), min_size=2, max_size=4)
    shape = math.prod(draw(radices)), math.prod(draw(radices))
    chunks = [draw(st.integers(1, size)) for size in shape]
    source = SourceInfo(
        shape=shape,
        dtype="float32",
        work_dtype="float32",
        edges=tuple(chunk_edges(size, chunk) for size, chunk in zip(shape, chunks, strict=True)),
        copies_tiles=True,
        decode_bytes=2 * math.prod(chunks) * 4,
    )
    rng = np.random.default_rng(0)
    sides = [draw(st.sampled_from([None, "bitreversal", "index"])) for _ in shape]
    orders = (rng.permutation(n) if s == "index" else s for s, n in zip(sides, shape, strict=True))
    chain = Chain.chainable(shape)
    return SearchSpace(
        source=source,
        chain=chain,
        placed=place(Orderings(*orders), shape, chain),
        budget=Budget(draw(st.sampled_from([5 * MIB, 6 * MIB + 4096, 7 * MIB, 1 << 30])), draw(st.integers(1, 6))),
        can_copy=draw(st.booleans()),
        spare=draw(st.integers(0, 2)),
    )


def every_tiling(space):
    count = len(space.chain)
    trees = [split_tree(count, "balanced", root) for root in range(1, count)]
    return [tiling for tree in trees for tiling in enumerate_tilings(space, tree)]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(spaces())
def test_the_plan_is_the_cheapest_of_all_tilings_that_fit(space):
    """The search leaves out root cuts whose halves alone cost too much, and misses nothing by that."""
    if len(space.chain) == 1:
        return
    given_ = {
        "orderings": space.placed.orderings,
        "budget": space.budget,
        "can_copy": space.can_copy,
        "spare": space.spare,
    }
    tilings = every_tiling(space)
    fitting = [tiling for tiling in tilings if tiling.fits(space.budget)]
    if not fitting:
        least = min(tiling.peak for tiling in tilings)
        with pytest.raises(MemoryBudgetError, match=f"memory={least} "):
            make_plan(space.source, space.chain, **given_)
        return
    plan = make_plan(space.source, space.chain, **given_)
    (chosen,) = [tiling for tiling in fitting if tiling.layout == plan.layout]
    assert chosen.score == min(tiling.score for tiling in fitting)
    assert (chosen.peak, chosen.bytes_read) == (plan.peak_bytes, plan.tile_bytes_read)
    assert plan.peak_bytes <= space.budget.memory


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(spaces())
def test_every_tiling_reads_the_matrix_at_least_once(space):
    if len(space.chain) == 1:
        return
    for tiling in every_tiling(space):
        assert tiling.bytes_read >= space.source.nbytes
        assert tiling.score >= 1 + cost_of_halves(space.chain, tiling.cut.tree)
        assert root_position(tiling.cut.tree) == tiling.layout.root
        assert tiling.device_peak == 0
        assert (tiling.copy is None) == (tiling.layout.copy is None)


def test_the_halves_of_a_middle_cut_cost_least():
    chain = Chain.square_dyadic(256)
    costs = [cost_of_halves(chain, split_tree(8, "balanced", root)) for root in range(1, 8)]
    assert np.argmin(costs) == 3
    assert costs[3] == 3 * (16 + 16) / 16**2
    assert costs == costs[::-1]


def test_a_single_factor_has_no_root_cut():
    assert root_position(split_tree(1)) == 0
