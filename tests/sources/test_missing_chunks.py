import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import MissingChunksWarning
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.missing_chunks import check_missing


@pytest.fixture
def incomplete(tmp_path):
    """Path of a matrix of which one chunk was never written."""
    array = zarr.create_array(tmp_path / "z.zarr", shape=(16, 16), chunks=(8, 8), dtype="float64")
    array[:8] = 1.0
    array[8:, :8] = 1.0
    return tmp_path / "z.zarr"


@pytest.mark.parametrize("options", [{}, {"cluster": "threads"}, {"store": "run.zarr"}], ids=str)
def test_the_warning_names_the_file_that_called_factorize(incomplete, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(MissingChunksWarning, match="1 of 4 chunks are not stored") as told:
        dbf.factorize(str(incomplete), **options)
    assert [warning.filename for warning in told] == [__file__]


def test_the_warning_names_the_file_that_called_the_check(incomplete):
    with pytest.warns(MissingChunksWarning, match="1 of 4 chunks are not stored") as told:
        check_missing(as_source(incomplete), "fill")
    assert [warning.filename for warning in told] == [__file__]
