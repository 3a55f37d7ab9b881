"""Results in the hierarchical form: what they say, and that a store brings them back."""

import dataclasses
import pickle

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError, InputError, StoreError
from dbutterfly.factorization.results.block_pictures import MOST_IN_NOTEBOOK, block_maps
from dbutterfly.factorization.results.hierarchical_files import arrays_of_result
from dbutterfly.factorization.results.report.block_page import block_page
from dbutterfly.operator.block_factors import BlockFactors
from dbutterfly.structure.drawings import ALARM, to_html
from tests.support.comparisons import snapshot
from tests.support.hierarchical_blocks import make_factorization
from tests.support.html_pages import assert_needs_nothing_else

STAGE = {
    "tasks": 4, "resumed": 0, "seconds": 1.5, "bytes_read": 4096, "load_seconds": 1.0, "compute_seconds": 0.5,
    "idle_bytes": 0, "peak_bytes": 0, "peak_beyond_idle": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    """A result and its matrix."""
    return make_factorization(record={"stages": {"regions": STAGE}, "plan_text": "a plan", "matrix": "kernel"})


def with_butterfly():
    """A result with a butterfly of an odd size in an order of its own, one more, a block of zeros and a dense one."""
    matrix = np.asarray(dbf.matrices.orthogonal_butterfly(32, seed=0))[::-1]
    fact = dbf.factorize(matrix, orderings=(np.arange(32)[::-1], "bitreversal"))
    odd = dbf.factorize(np.ones((29, 31)), orderings=(None, np.random.default_rng(0).permutation(31)))
    blocks = (
        BlockFactors((0, 32), (0, 32), fact.ks_values, fact.orderings),
        BlockFactors((32, 61), (0, 31), odd.ks_values, odd.orderings),
        BlockFactors((32, 61), (31, 32), ()),
        BlockFactors((0, 61), (32, 40), (np.ones((1, 61, 8, 1)),)),
    )
    certificate = dbf.Certificate(1e-9, 0.0, False, 1.0, form="hierarchical")
    return dbf.HierarchicalFactorization(
        blocks, (61, 40), np.dtype("float64"), None, np.arange(40)[::-1], "none", certificate, np.ones((4, 4))
    )


def assert_same(one, other):
    assert (one.shape, one.dtype, one.symmetry) == (other.shape, other.dtype, other.symmetry)
    assert one.certificate == other.certificate
    assert one.record == other.record
    np.testing.assert_array_equal(one.table, other.table)
    for order, again in ((one.row_order, other.row_order), (one.col_order, other.col_order)):
        assert (order is None) == (again is None)
        assert order is None or np.array_equal(order, again)
    for block, again in zip(one.blocks, other.blocks, strict=True):
        assert (block.rows, block.cols, block.kind) == (again.rows, again.cols, again.kind)
        for values, stored in zip(block.ks_values, again.ks_values, strict=True):
            assert values.dtype == stored.dtype
            np.testing.assert_array_equal(values, stored)


@pytest.mark.parametrize(
    "found",
    [make_factorization(*case)[0] for case in ((), ("complex64", "hermitian"), ("float32", "none"))],
    ids=["symmetric", "hermitian", "none"],
)
def test_a_store_brings_it_back(found, tmp_path):
    found.save(tmp_path / "fact")
    again = dbf.open(tmp_path / "fact")
    assert_same(found, again)
    x = np.ones(found.shape[1])
    np.testing.assert_array_equal(again @ x, found @ x)
    assert again.operator.nbytes_prepared == found.operator.nbytes_prepared == 0
    assert_same(found, pickle.loads(pickle.dumps(again)))
    again.save(tmp_path / "again")
    assert_same(found, dbf.open(tmp_path / "again"))
    values = arrays_of_result(again)["blocks/values"]
    assert np.shares_memory(values, again.blocks[0].ks_values[0])


def test_a_store_brings_butterflies_back():
    found, store = with_butterfly(), {}
    found.save(store)
    again = dbf.open(store)
    assert_same(found, again)
    np.testing.assert_allclose(again.operator.to_dense(), found.operator.to_dense())
    np.testing.assert_allclose(found.operator.to_dense()[32:61, :8], 0 + 1.0)


def test_no_blocks_at_all_can_be_stored():
    certificate = dbf.Certificate(0.0, 0.0, True, 0.0, form="hierarchical")
    found = dbf.HierarchicalFactorization(
        (), (3, 4), np.dtype("float32"), None, None, "none", certificate, np.zeros((0, 4))
    )
    store = {}
    found.save(store)
    assert_same(found, dbf.open(store))
    assert "The matrix is zero" in found._repr_html_()


def test_what_is_there_is_replaced_when_asked(result, tmp_path):
    found, _ = result
    found.save(tmp_path / "fact")
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match=r"already holds a dbutterfly factorization.*overwrite=True"):
        found.save(tmp_path / "fact")
    assert snapshot(tmp_path) == before
    found.save(tmp_path / "fact", overwrite=True)
    dbf.factorize(np.ones((8, 8))).save(tmp_path / "fact", overwrite=True)
    assert isinstance(dbf.open(tmp_path / "fact"), dbf.Factorization)


@pytest.mark.parametrize("name", ["table", "patterns", "values", "errors", "orders/rows"])
def test_damaged_arrays_are_found(result, name):
    store = {}
    result[0].save(store)
    array = zarr.open_group(store, mode="r+")[f"blocks/{name}"]
    array[0] = np.asarray(array[0]) + 1
    with pytest.raises(CheckpointError, match=name):
        dbf.open(store)


@pytest.mark.parametrize(
    "entry", [{"values": 3}, {"blocks": 10**9}, {"shape": [0, 4]}, {"dtype": "int8"}, {"shape": [9, 9]}]
)
def test_manifests_that_do_not_fit_are_refused(result, entry):
    store = {}
    result[0].save(store)
    group = zarr.open_group(store, mode="r+")
    manifest = dict(group.attrs["dbutterfly"])
    manifest["hierarchical"] = {"asked": {}, "result": manifest["hierarchical"]["result"] | entry}
    group.attrs["dbutterfly"] = manifest
    del group["manifest"]
    with pytest.raises(StoreError):
        dbf.open(store)


def test_it_is_no_operator_of_factors(result, tmp_path):
    result[0].save(tmp_path / "fact")
    with pytest.raises(StoreError, match=r"hierarchical form; dbutterfly.open\(place\).operator"):
        dbf.ButterflyOperator.load(tmp_path / "fact")
    with pytest.raises(StoreError, match="holds a result in the hierarchical form"):
        dbf.prove(tmp_path / "fact", np.eye(4))


def test_verify_measures_its_error(result, tmp_path):
    found, matrix = result
    found.save(tmp_path / "fact")
    error = dbf.verify(tmp_path / "fact", matrix)
    assert error.exact
    np.testing.assert_allclose(error, found.certificate.error_bound, rtol=1e-6)
    sampled = dbf.verify(found, matrix, samples=150)
    assert not sampled.exact
    assert abs(sampled - error) < 5 * sampled.deviation
    np.testing.assert_allclose(dbf.verify(found, dbf.ButterflyOperator([matrix[None, :, :, None]])), error, rtol=1e-4)
    assert dbf.verify(found, matrix * 1e-300) > 1
    with pytest.raises(InputError, match="source has shape"):
        dbf.verify(found, matrix[:-1])


def test_it_says_what_it_is(result):
    found, matrix = result
    shown = found.summary()
    assert set(shown) == {"dense", "low rank"}
    assert sum(one["blocks"] for one in shown.values()) == len(found.blocks)
    assert sum(one["values"] for one in shown.values()) * 8 == found.nbytes == found.operator.nbytes
    np.testing.assert_allclose(sum(one["entries"] for one in shown.values()), 1)
    assert found.compression == matrix.nbytes / found.nbytes
    text = str(found)
    assert text.splitlines()[0].startswith("200 x 200 float64, symmetric: ")
    assert "no matrix of these blocks and ranks is below" in text
    assert repr(found).startswith("<HierarchicalFactorization of a 200 x 200 float64 matrix, symmetric: ")
    np.testing.assert_allclose(np.ones(200) @ found, np.ones(200) @ matrix, rtol=0.01)
    norm = found.certificate.norm
    np.testing.assert_allclose(found.errors, np.sqrt(found.table[:, 1]) / norm)


def test_verdicts_speak_of_blocks(result):
    found, _ = result
    html = found._repr_html_()
    assert "The hierarchical matrix misses the matrix by" in html
    assert "that any matrix of these blocks and ranks can reach" in html
    assert "impossible for these blocks and ranks" in html
    useless = dataclasses.replace(found, certificate=dbf.Certificate(0.9, 0.8, True, 1.0, form="hierarchical"))
    assert "no matrix of these blocks and ranks comes closer" in useless._repr_html_()
    assert ALARM in to_html(block_maps(useless)[1].drawing)


def test_a_page_has_the_map_with_ranks_and_errors(result, tmp_path):
    found, _ = result
    text = block_page(found)
    assert_needs_nothing_else(text)
    for part in (
        "Hierarchical factorization",
        "Blocks and their ranks",
        "Errors of the blocks",
        "Blocks by kind",
        "a plan",
    ):
        assert part in text
    rank = next(block.rank for block in found.blocks if block.kind == "low rank")
    assert f": rank {rank}, error " in text
    assert "product is below" not in text
    found.report(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == text
    mirrored = len(found.blocks) + sum(block.rows != block.cols for block in found.blocks)
    assert text.count("<title>") - 1 == mirrored
    assert "chain" not in {line.strip() for line in text.splitlines()}


def test_notebooks_show_maps_of_few_blocks_only(result):
    small, times = with_butterfly(), MOST_IN_NOTEBOOK // len(result[0].blocks) + 1
    large = dataclasses.replace(result[0], blocks=times * result[0].blocks, table=np.tile(result[0].table, (times, 1)))
    assert "map of the blocks" in small._repr_html_()
    assert "map of the blocks" not in large._repr_html_()
    for one in (small, large):
        assert_needs_nothing_else(one._repr_html_())
        assert len(one._repr_html_()) < 40_000


@pytest.mark.parametrize("kind", ["ranks", "errors"])
def test_plots(result, kind):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    for found in (result[0], with_butterfly()):
        axes = found.plot(kind)
        assert axes.get_xlim() == (0, found.shape[1])
        count = sum(len(each.get_paths()) for each in axes.collections)
        assert count >= len(found.blocks) - 1
        again = found.plot(kind, axes)
        assert again is axes
        pyplot.close(axes.figure)
    with pytest.raises(InputError, match="kind='cuts' is unknown"):
        result[0].plot("cuts")
