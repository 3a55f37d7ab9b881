"""Orderings of points and graphs: the groups of a chain are parts of space, whatever its digits."""

import numpy as np
import pytest
import xarray
import zarr
from scipy import sparse
from scipy.sparse.linalg import ArpackError

import dbutterfly as dbf
from dbutterfly.errors import ChainError, InputError
from dbutterfly.structure import graphs
from dbutterfly.structure.digits import digit_reversal

MIXED = dbf.Chain([(1, 2, 4, 15), (4, 3, 2, 5), (8, 5, 3, 1)])
"""Chain of 30 rows and 24 columns whose digits are all unlike: 2, 3, 5 and 4, 2, 3."""


def groups_of(chain, position, orderings):
    """Rows in each row group, and columns in each column group, of a cut."""
    (p, u, q, v, _), *_ = chain.cut(position)
    rows, cols = (
        np.arange(size) if order is None else order
        for size, order in zip(chain.shape, orderings.permutations(chain), strict=True)
    )
    return rows.reshape(p, u).T, cols.reshape(q, v)


def is_apart(values):
    """Whether groups are ranges that do not overlap; gaps are NaN."""
    lows, highs = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    order = np.argsort(lows)
    return bool((highs[order][:-1] < lows[order][1:]).all())


@pytest.mark.parametrize("chain", [MIXED, dbf.Chain.square_dyadic(32), dbf.Chain.chainable((36, 60), rank=2)])
def test_groups_of_every_cut_are_ranges_of_points_on_a_line(chain):
    rng = np.random.default_rng(0)
    x, y = (rng.random(size) for size in chain.shape)
    found = dbf.Orderings.from_points(x, y[:, None], chain=chain)
    found.validate(chain.shape, chain)
    for position in range(1, len(chain)):
        rows, cols = groups_of(chain, position, found)
        assert is_apart(x[rows])
        assert is_apart(y[cols])


def test_points_in_order_are_named_and_cost_no_index_array():
    points = np.linspace(0, 1, 32)
    assert dbf.Orderings.from_points(points, points, chain=dbf.Chain.square_dyadic(32)).sides == {
        "rows": "bitreversal",
        "cols": None,
    }
    assert dbf.Orderings.from_points(chain=MIXED).sides == {"rows": None, "cols": None}


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_gaps_are_spread_over_the_parts(dimension):
    chain, points = dbf.Chain.square_dyadic(64), np.random.default_rng(1).random((53, dimension))
    found = dbf.Orderings.from_points(points, points, chain=chain)
    found.validate((53, 53), chain)
    for position in range(1, len(chain)):
        for groups in groups_of(chain, position, found):
            counts = (groups >= 0).sum(axis=1)
            assert counts.max() - counts.min() <= 1


def test_parts_are_cut_across_their_longest_extent():
    points = np.array([(x, y) for x in range(8) for y in range(2)], float)  # 8 wide, 2 high
    points = points[np.random.default_rng(0).permutation(16)]
    found = dbf.Orderings.from_points(None, points, chain=dbf.Chain.square_dyadic(16))
    for width in (8, 4, 2):
        extents = np.ptp(points[found.cols].reshape(-1, width, 2), axis=1)
        assert (extents == (max(width // 2 - 1, 0), 1)).all()


def test_a_circle_is_opened_at_its_largest_gap():
    longitudes = np.sort(np.random.default_rng(0).uniform(-60, 60, 32)) % 360  # across the meridian of Greenwich
    chain = dbf.Chain.square_dyadic(32)
    found = dbf.Orderings.from_points(cols=longitudes, chain=chain, period=360)
    assert found.cols is None  # the order from -60 to 60 degrees
    assert dbf.Orderings.from_points(cols=longitudes, chain=chain).cols is not None
    latitudes = np.zeros(32)
    both = dbf.Orderings.from_points(cols=np.stack([latitudes, longitudes], 1), chain=chain, period=(None, 360))
    assert both.cols is None
    evenly = np.arange(32) * 0.1  # gaps differ by rounding
    assert dbf.Orderings.from_points(cols=evenly, chain=chain, period=3.2).cols is None


def test_coordinates_come_from_everywhere(tmp_path):
    points = np.random.default_rng(0).random((24, 2)).astype("float32")
    stored = zarr.create_array(tmp_path / "p.zarr", shape=points.shape, dtype=points.dtype)
    stored[...] = points
    orders = [
        dbf.Orderings.from_points(cols=given, chain=MIXED.patterns).cols
        for given in (points, points.tolist(), stored, xarray.DataArray(points, dims=("point", "axis")))
    ]
    assert all(np.array_equal(order, orders[0]) for order in orders)


def test_points_on_one_place_keep_their_order():
    assert dbf.Orderings.from_points(np.ones((16, 3)), chain=dbf.Chain.square_dyadic(16)).rows == "bitreversal"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [0.0, np.nan, 1.0]}, "points: rows has nan in point 1, coordinate 0; give finite numbers"),
        ({"cols": [[0, 1], [2, np.inf]]}, "points: cols has inf in point 1, coordinate 1"),
        ({"rows": np.zeros((4, 2, 1))}, r"points: rows has shape \(4, 2, 1\); give \(points, coordinates\)"),
        ({"rows": np.zeros((4, 0))}, r"points: rows has shape \(4, 0\)"),
        ({"rows": np.zeros(4, complex)}, "points: rows has dtype complex128; coordinates are real numbers"),
        ({"rows": np.array([0, None])}, "points: rows has dtype object"),
        ({"rows": np.ma.masked_array([1.0, 2.0])}, "points: rows is a masked array"),
        ({"rows": [1.0, 2.0], "period": 0}, "period=0 is none; give the positive length"),
        ({"rows": [1.0, 2.0], "period": -1.0}, r"period=-1\.0 is none"),
        ({"rows": [1.0, 2.0], "period": (None, 360)}, r"period=\(None, 360\) has 2 entries .* rows 1 coordinates"),
        ({"rows": np.zeros(31)}, "chain has 30 rows for 31 points; give a chain of at least as many"),
    ],
)
def test_what_are_no_points_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        dbf.Orderings.from_points(**arguments, chain=MIXED)


def grid(across, down):
    """Adjacency of a grid, and the coordinates of its vertices."""
    line = [sparse.diags_array([np.ones(k - 1)] * 2, offsets=[-1, 1]) for k in (across, down)]
    adjacency = sparse.kron(line[0], sparse.eye_array(down)) + sparse.kron(sparse.eye_array(across), line[1])
    return sparse.csr_array(adjacency), np.stack(np.divmod(np.arange(across * down), down), 1)


@pytest.mark.slow
@pytest.mark.parametrize("down", [1, 3])
def test_parts_of_a_graph_are_connected_and_short(down):
    adjacency, place = grid(320, down)
    shuffle = np.random.default_rng(0).permutation(320 * down)
    chain = dbf.Chain.chainable((64 * down * 5, 64 * down * 5), rank=2)
    found = dbf.Orderings.from_graph(adjacency[shuffle][:, shuffle], chain=chain)
    x = place[shuffle, 0].astype(float)
    rows, cols = groups_of(chain, 1, found)
    for groups in (rows, cols):
        if groups.shape[1] >= 4 * down:
            assert (np.ptp(x[groups], axis=1) <= groups.shape[1] / down).all()
    if down == 1:
        assert is_apart(x[groups_of(chain, 2, found)[0]])


def test_components_come_one_after_the_other_the_largest_first():
    small, large = grid(8, 1)[0], grid(24, 1)[0]
    shuffle = np.random.default_rng(0).permutation(32)
    adjacency = sparse.csr_array(sparse.block_diag([small, large]))[shuffle][:, shuffle]
    order = shuffle[dbf.Orderings.from_graph(None, adjacency.toarray(), chain=dbf.Chain.square_dyadic(32)).cols]
    assert set(order[24:]) == set(range(8))
    assert is_apart(order[:24].reshape(3, 8))
    empty = dbf.Orderings.from_graph(np.zeros((32, 32)), None, chain=dbf.Chain.square_dyadic(32))
    assert empty.sides == {"rows": "bitreversal", "cols": None}


def test_a_graph_whose_eigenvector_is_not_found_is_numbered_from_one_end(monkeypatch):
    def fail(*_, **__):
        raise ArpackError(-1, {-1: "no convergence"})

    monkeypatch.setattr(graphs, "eigsh", fail)
    shuffle = np.random.default_rng(0).permutation(512)
    adjacency = grid(512, 1)[0][shuffle][:, shuffle]
    chain = dbf.Chain.square_dyadic(512)
    found = dbf.Orderings.from_graph(adjacency, chain=chain).rows[np.argsort(digit_reversal(chain.row_radices))]
    assert is_apart(shuffle[found].reshape(-1, 8).astype(float))


@pytest.mark.parametrize(
    ("adjacency", "error", "message"),
    [
        (np.zeros((3, 4)), InputError, r"adjacency has shape \(3, 4\); give a square matrix"),
        (np.zeros((3, 3), complex), InputError, "adjacency has dtype complex128"),
        ([[0, -1], [1, 0]], InputError, "adjacency has weights that are negative or not finite"),
        (sparse.coo_array([[0, np.nan], [1, 0]]), InputError, "negative or not finite"),
        (np.zeros((31, 31)), ChainError, "chain has 30 rows for 31 vertices"),
    ],
)
def test_what_is_no_graph_is_refused(adjacency, error, message):
    with pytest.raises(error, match=message):
        dbf.Orderings.from_graph(adjacency, chain=MIXED)
