import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.sources.dispatch import as_source


@pytest.mark.parametrize(("sampled", "kind"), [(None, "array"), (False, "entries"), (True, "sampled entries")])
def test_stored_runs_recognise_their_matrix(sampled, kind):
    """The hash is part of the stored format: it must never change."""
    z = np.arange(100 * 30, dtype="float32").reshape(100, 30)
    given = z if sampled is None else dbf.entries(lambda i, j: z[np.ix_(i, j)], z.shape, z.dtype, sampled=sampled)
    assert as_source(given).fingerprint() == {"kind": kind, "sample": "462430f2a2bf853be5a360c43293f0a7"}
