"""Rows in memory of which the beginnings are written."""

import numpy as np
import pytest

from dbutterfly.storage.row_workspace import RowWorkspace


def test_rows_take_what_is_written_of_them():
    workspace = RowWorkspace(("values",))
    assert workspace.create("values", (1 << 20, 1 << 40), (1, 8), "float64")  # an exbibyte and more
    assert not workspace.create("values", (1 << 20, 1 << 40), (1, 8), "float64")
    row = np.arange(8.0)[None]
    workspace.write("values", (slice(5, 6), slice(0, 8)), row)
    row[:] = -1
    np.testing.assert_array_equal(workspace.read("values", (slice(5, 6), slice(0, 3))), [[0, 1, 2]])
    with pytest.raises(KeyError):
        workspace.read("values", (slice(4, 5), slice(0, 3)))


def test_other_arrays_are_as_ever():
    workspace = RowWorkspace(("values",))
    assert workspace.create("done/regions", (3, 2), (1, 2), "float64")
    workspace.write("done/regions", (slice(1, 2),), np.ones((1, 2)))
    rows = workspace.read_rows("done/regions")
    assert np.isnan(rows[[0, 2]]).all()
    np.testing.assert_array_equal(rows[1], 1)
