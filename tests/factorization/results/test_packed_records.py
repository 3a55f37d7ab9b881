"""Records of matrices of stacks, as rows of numbers."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.factorization.results.packed_records import RECORD_WORDS, pack_record, unpack_record

PROOF = {"ended": "standstill", "steps": 1200, "seconds": 1.5e-300 / 3, "slack": 2e-15 / 3, "least_error": 0.1 / 3}


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (2, 2), (30, 30), (500, 2)])
@pytest.mark.parametrize("origin", [None, "all cuts, by the residual"])
def test_what_was_packed_comes_back(count, kept, origin):
    deviation = None if count else 0.01
    certificate = dbf.Certificate(0.125, 0.1, True, 64.0, deviation, guarantee=4.08, lower_bound_from=origin)
    record = {"sweeps": (np.random.default_rng(0).random(count) * 1e-5).tolist(), "gradient": 0.1, "proof": PROOF}
    row = pack_record(record, certificate)
    assert (row.shape, row.dtype) == ((RECORD_WORDS,), np.float64)
    assert not np.isnan(row).any()
    found, again = unpack_record(row, dbf.Certificate(0.125, 0.1, True, 64.0, guarantee=4.08))
    assert again == certificate
    ends = [record["sweeps"][0], record["sweeps"][-1]] if count else []
    assert found == record | {"sweeps": record["sweeps"] if kept == count else ends}
