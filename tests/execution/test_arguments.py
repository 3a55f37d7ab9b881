import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import InputError

MATRIX = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"passes": np.int64(2)}, {"passes": np.uint8(2)}, {"sweeps": np.array(1)}, {"resume": np.bool_(True)},
        {"rank": np.uint8(2), "memory": np.float32(1e8), "workers": np.int8(1)}, {"tol": np.float32(0.5)},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_of_numpy_are_those_of_python_in_a_stored_run_too(arguments, tmp_path):
    store = tmp_path / "run"
    found = dbf.factorize(MATRIX, store=store, **arguments)
    again = dbf.factorize(MATRIX, store=store, **{name: value.item() for name, value in arguments.items()})
    assert again.certificate == found.certificate
    assert dbf.open(store).chain == found.chain


@pytest.mark.parametrize(
    "arguments",
    [{"sweeps": 2.5}, {"rank": float("nan")}, {"tree": "up"}, {"passes": True}, {"memory": ""}, {"resume": "no"},
     {"chain": b"abc"}, {"orderings": 5},
     {"tree": "up", "orderings": "identify"}, {"passes": 3, "orderings": "identify"}],
    ids=str,
)  # fmt: skip
def test_a_wrong_argument_is_refused_before_the_matrix_is_read_or_a_store_begun(arguments, tmp_path):
    reads = []

    def entry(rows, cols):
        reads.append(rows)
        return MATRIX[np.ix_(rows, cols)]

    with pytest.raises(InputError, match=f"{next(iter(arguments))}[= ]"):
        dbf.factorize(dbf.entries(entry, (16, 16), float), store=tmp_path / "run", **arguments)
    assert not reads
    assert not (tmp_path / "run").exists()
