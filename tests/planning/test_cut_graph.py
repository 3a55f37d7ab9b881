import itertools

import numpy as np
import pytest

from dbutterfly.planning.cut_graph import CutGraph
from dbutterfly.structure.chain import Chain


def chain_of(way, ranks):
    return Chain.of_digits(way.row_digits, way.col_digits, ranks)


def test_the_chain_of_two_factors_of_a_cut_has_it():
    graph = CutGraph((24, 40))
    for number, (p, q) in enumerate(graph.cuts):
        cut = graph.cut_chain(number).cut(1)[0]
        assert (cut.p, cut.q) == (p, q)


def test_the_last_cut_is_one_block():
    cut = CutGraph((24, 40)).cut_chain(-1).cut(1)[0]
    assert cut[:4] == (24, 1, 1, 40)


@pytest.mark.parametrize("shape", [(16, 16), (8, 64), (12, 18), (5, 7), (1, 6), (6, 1)])
def test_values_of_ways_are_those_of_their_chains(shape):
    graph = CutGraph(shape)
    ranks = np.random.default_rng(0).integers(1, 4, len(graph.cuts)).astype(float)
    for values, way in graph.ways(ranks):
        own = tuple(int(ranks[cut]) for cut in way.cuts)
        chain = chain_of(way, own)
        assert chain.shape == shape
        assert chain.is_dense
        assert chain.ranks == own
        assert chain.nnz == values == graph.count_values(way, own)


def test_ways_are_the_cheapest_of_all_of_as_many_factors():
    graph, rng = CutGraph((16, 16)), np.random.default_rng(1)
    ranks = rng.integers(1, 5, len(graph.cuts)).astype(float)
    ranks[3] = np.inf
    rank_of = dict(zip(graph.cuts, ranks, strict=True))
    digits = [split for count in range(2, 5) for split in itertools.product((2, 4, 8), repeat=count)]
    digits = [split for split in digits if np.prod(split) == 16]
    least = {}
    for m, n in itertools.product(digits, repeat=2):
        if len(m) == len(n):
            cuts = list(zip(np.cumprod(m).tolist()[:-1], np.cumprod(n).tolist()[:-1], strict=True))
            if all(np.isfinite(rank_of.get(cut, np.inf)) for cut in cuts):
                values = Chain.of_digits(m, n, [int(rank_of[cut]) for cut in cuts]).nnz
                least[len(m)] = min(values, least.get(len(m), values))
    low_rank = 32 * rank_of[16, 1]
    least[2] = min(least[2], low_rank)
    found = {len(way.row_digits): values for values, way in graph.ways(ranks)}
    assert found == least


def test_least_values_through_a_cut():
    graph = CutGraph((32, 32))
    ranks = np.random.default_rng(2).integers(1, 5, len(graph.cuts)).astype(float)
    through = graph.least_values(ranks)
    ways = list(graph.ways(ranks))
    assert through.min() == min(values for values, _ in ways)
    for values, way in ways:
        assert (through[list(way.cuts)] <= values).all()
    blocked = ranks.copy()
    blocked[0] = np.inf
    assert np.isinf(graph.least_values(blocked)[0])


def test_excess_is_the_area_of_blocks_beside_those_of_rank_one():
    graph = CutGraph((64, 64))
    for number, (p, q) in enumerate(graph.cuts):
        assert graph.excess(number) == pytest.approx(p / q)
