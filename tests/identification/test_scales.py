import numpy as np
import pytest

import dbutterfly as dbf


@pytest.mark.parametrize(
    ("scale", "dtype", "method"),
    [(1e200, "float64", "middle"), (1e-200, "complex128", "middle"), (1e30, "float32", "pairing")],
)
def test_orderings_are_found_whatever_the_scale_of_the_matrix(scale, dtype, method):
    """Without a warning: tests turn those into errors."""
    matrix = np.asarray(dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(16, seed=0), seed=1)).astype(dtype)
    found = dbf.identify(matrix * np.asarray(scale, dtype), method=method)
    assert np.isfinite(found.residuals).all()
    assert found.found
    assert max(found.residuals) < 1e-4
