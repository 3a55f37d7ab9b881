import numpy as np
import pytest

from dbutterfly.errors import InputError
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from dbutterfly.structure.orderings import BITREVERSAL, Orderings


@pytest.mark.parametrize("given_", [None, (None, None), [None, None], Orderings()])
def test_standard(given_):
    made = Orderings.from_any(given_)
    assert made.rows is None
    assert made.cols is None
    assert made.permutations(Chain.square_dyadic(4)) == (None, None)
    assert made.describe() == "rows standard, columns standard"
    made.validate((3, 4))


def test_from_any_returns_an_orderings_unchanged():
    made = Orderings(BITREVERSAL, [1, 0])
    assert Orderings.from_any(made) is made


def test_sides():
    made = Orderings.from_any((BITREVERSAL, [2, 0, 1, 3, 5, 4]))
    chain = Chain.chainable((12, 6))
    rows, cols = made.permutations(chain)
    np.testing.assert_array_equal(rows, digit_reversal(chain.row_radices))
    np.testing.assert_array_equal(cols, [2, 0, 1, 3, 5, 4])
    assert made.describe() == "rows bitreversal, columns permuted (6 indices)"
    made.validate((12, 6))


def test_index_arrays_are_copied_and_frozen():
    index = np.array([1, 0, 2], np.uint8)
    side = Orderings(rows=index).rows
    index[:] = 0
    assert side.dtype == np.int64
    assert side.tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="read-only"):
        side[0] = 5


def test_a_permutation_turns_a_matrix_into_standard_order():
    rng = np.random.default_rng(0)
    chain, standard = Chain.chainable((12, 8)), rng.standard_normal((12, 8))
    rows, cols = rng.permutation(12), digit_reversal(chain.col_radices)
    stored = np.empty_like(standard)
    stored[np.ix_(rows, cols)] = standard
    found_rows, found_cols = Orderings(rows, BITREVERSAL).permutations(chain)
    np.testing.assert_array_equal(stored[found_rows][:, found_cols], standard)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ("bitreversal", "not None, an Orderings, or a pair"),
        ((None,), "not None, an Orderings, or a pair"),
        (3, "not None, an Orderings, or a pair"),
        ((None, "reversed"), "cols='reversed' is unknown"),
        (("Bitreversal", None), "rows='Bitreversal' is unknown"),
        (([0.0, 1.0], None), "rows has dtype float64 and 1 dimensions"),
        ((None, [[0, 1]]), "cols has dtype int64 and 2 dimensions"),
        ((None, [True, False]), "cols has dtype bool"),
    ],
)
def test_refused(given_, message):
    with pytest.raises(InputError, match=message):
        Orderings.from_any(given_)


@pytest.mark.parametrize("rows", [[0, 1], [0, 0, 1], [1, 2, 3], [-1, 0, 1]])
def test_validate_refuses_what_is_no_permutation(rows):
    with pytest.raises(InputError, match=r"rows is not a permutation of 0 \.\. 2"):
        Orderings(rows=rows).validate((3, 3))


def test_validate_looks_at_the_columns_too():
    with pytest.raises(InputError, match=r"cols is not a permutation of 0 \.\. 3 \(it has 3 entries\)"):
        Orderings(cols=[0, 1, 2]).validate((3, 4))
