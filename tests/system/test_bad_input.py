import dask.array as da
import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.errors import ChainError, DButterflyError, InputError, MemoryBudgetError, NonFiniteError, SourceError
from dbutterfly.structure.chain import Chain
from tests.support.comparisons import assert_same, least_memory, noisy_butterfly, random_matrix, snapshot
from tests.support.logged_sources import Counted, blocks

# ---------------------------------------------------------------- NaN and infinity


def sources(matrix, directory):
    np.save(directory / "z.npy", matrix)
    zarr.create_array(directory / "z.zarr", data=matrix, chunks=(20, 30))
    return {
        "array": matrix,
        "path": directory / "z.npy",
        "memmap": np.load(directory / "z.npy", mmap_mode="r"),
        "zarr": directory / "z.zarr",
        "dask": da.from_array(matrix, chunks=(20, 30)),
        "entries": dbf.entries(Counted(matrix, str(directory / "log")), matrix.shape, matrix.dtype),
    }


KINDS = ["array", "path", "memmap", "zarr", "dask", "entries"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("orderings", "bad"),
    [
        (None, np.nan),
        (None, -np.inf),
        (None, complex(1, np.inf)),
        ((None, "bitreversal"), np.nan),
        (("bitreversal", None), -np.inf),
        ("permuted", complex(np.nan, 1)),
    ],
)
def test_the_first_bad_entry_is_named(kind, orderings, bad, engine, tmp_path):
    matrix = random_matrix((64, 64), "complex128" if isinstance(bad, complex) else "float32")
    if orderings == "permuted":
        orderings = tuple(np.random.default_rng(0).permutation(64) for _ in range(2))
    matrix[13, 37] = matrix[13, 50] = matrix[60, 2] = bad
    source = sources(matrix, tmp_path)[kind]
    with pytest.raises(NonFiniteError, match=r"holds a NaN or an infinity at index \(13, 37\)") as caught:
        dbf.factorize(source, orderings=orderings, **engine)
    assert caught.value.index == (13, 37)


def test_bad_entries_are_found_while_reading(tmp_path):
    matrix = noisy_butterfly(256)
    matrix[1, 2] = np.nan
    log = tmp_path / "log"
    source = dbf.entries(Counted(matrix, str(log)), matrix.shape, matrix.dtype)
    with pytest.raises(NonFiniteError):
        dbf.factorize(source, workers=1, memory=least_memory(source), store=tmp_path / "run")
    sample, *tiles = (int(line.split()[0]) for line in blocks(log))
    assert sample == 32 * 32
    assert sum(tiles) < matrix.size / 4


def test_bad_entries_of_a_single_factor():
    matrix = random_matrix((7, 5))
    matrix[3, 1] = np.nan
    for orderings in (None, (np.arange(7)[::-1], np.roll(np.arange(5), 2))):
        with pytest.raises(NonFiniteError, match=r"\(3, 1\)"):
            dbf.factorize(matrix, orderings=orderings)


def test_a_mended_matrix_continues_the_run(tmp_path):
    """The sampled entries are the same, so the run is: tiles that were read keep their results."""
    matrix = noisy_butterfly(256)
    broken = matrix.copy()
    broken[2, 2] = np.inf
    with pytest.raises(NonFiniteError):
        dbf.factorize(broken, tree="balanced", store=tmp_path / "run")
    fact = dbf.factorize(matrix, tree="balanced", store=tmp_path / "run")
    assert_same(fact, dbf.factorize(matrix, tree=fact.tree))


# ---------------------------------------------------------------- matrices that are none


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4), object), "dtype object; use float32, float64, complex64 or complex128"),
        (np.full((4, 4), "text"), "dtype <U4; use float32"),
        (np.zeros((4, 4), "M8[s]"), "dtype datetime64"),
        (np.zeros((4, 4), np.longdouble), "dtype float128|dtype longdouble"),
        (np.zeros((2, 2, 2, 2)), r"array has 4 dimensions, shape \(2, 2, 2, 2\); a matrix has two"),
        (np.zeros(4), "array has 1 dimensions"),
        (3.0, "array has 0 dimensions"),
        (np.zeros((0, 4)), r"array is empty, shape \(0, 4\)"),
        (np.zeros((4, 0)), r"array is empty, shape \(4, 0\)"),
        (da.zeros((2, 2, 2, 2)), "array has 4 dimensions"),
        (da.zeros((4, 4), dtype=object, chunks=(2, 2)), "dtype object"),
        ([[1, 2], [3]], "no array"),
        ({"a": 1}, "dtype object|no array|0 dimensions"),
    ],
)
def test_what_is_no_matrix_of_numbers(source, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(source)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "text.npy").write_text("no numbers")
    (tmp_path / "text.txt").write_text("no numbers")
    np.save(tmp_path / "object.npy", np.array([[None]]), allow_pickle=True)
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2, 2)))
    zarr.create_group(tmp_path / "group").create_array("inside", shape=(4,), dtype="f8")
    zarr.create_array(tmp_path / "cube.zarr", shape=(2, 2, 2, 2), dtype="f8")
    zarr.create_array(tmp_path / "text.zarr", shape=(2, 2), dtype="<U4", zarr_format=2)
    for name, message in {
        "missing": "does not exist; give a Zarr array, its URL, or a .npy file",
        "text.npy": "is no readable .npy file of numbers",
        "object.npy": "is no readable .npy file of numbers",
        "text.txt": "cannot be opened as a Zarr array",
        "cube.npy": "has 4 dimensions",
        "group": "is a Zarr group; name one of its arrays: inside",
        "cube.zarr": "has 4 dimensions",
        "text.zarr": "dtype .*; use float32",
    }.items():
        with pytest.raises(InputError, match=message):
            dbf.factorize(tmp_path / name)


def test_a_store_that_fails_while_reading_is_named(engine, tmp_path):
    matrix = random_matrix((64, 64))
    array = zarr.create_array(tmp_path / "z.zarr", data=matrix, chunks=(16, 16), compressors=zarr.codecs.ZstdCodec())
    (tmp_path / "z.zarr" / "c" / "2" / "1").write_bytes(b"damaged")
    with pytest.raises(SourceError, match=r"z\.zarr: cannot read rows 0\.\.63, columns 0\.\.63|cannot read rows .*32"):
        dbf.factorize(array, **engine)


# ---------------------------------------------------------------- chains, trees and the rest

MATRIX = random_matrix((48, 64))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"chain": Chain.square_dyadic(128)}, ChainError, r"matrix is 48 x 64; the nearest chain that fits is Chain\("),
        ({"chain": [(2, 24, 32, 1)]}, ChainError, "does not multiply to a full matrix"),
        ({"chain": "butterfly"}, ChainError, "chain='butterfly' is unknown; use 'chainable'"),
        ({"chain": []}, ChainError, "patterns is empty"),
        ({"chain": [(1, 48, 64)]}, ChainError, "is not four positive integers"),
        ({"rank": 0}, InputError, "rank=0 is not positive"),
        ({"rank": -3}, InputError, "rank=-3 is not positive"),
        ({"rank": 2, "chain": Chain.chainable((48, 64))}, InputError, "the chain given has its own rank"),
        ({"rank": 100}, ChainError, "rank=100 exceeds the smaller side"),
        ({"tree": "diagonal"}, ChainError, "tree='diagonal' is unknown"),
        ({"tree": ((0, 1), 2)}, ChainError, "has the leaves"),
        ({"tree": (0, 1, 2)}, ChainError, "every node is a pair"),
        ({"tree": 7.5}, ChainError, "is not the index of a factor"),
        ({"passes": 0}, InputError, "passes=0 is not possible"),
        ({"passes": 3}, InputError, "passes=3 is not possible"),
        ({"passes": "2"}, InputError, "passes='2' is not possible"),
        ({"orderings": "bitreversal"}, InputError, r"is not None, an Orderings, or a pair"),
        ({"orderings": ("sorted", None)}, InputError, "rows='sorted' is unknown"),
        ({"orderings": (np.arange(64), None)}, InputError, r"rows is not a permutation of 0 \.\. 47"),
        ({"orderings": (None, np.zeros(64, int))}, InputError, r"cols is not a permutation of 0 \.\. 63"),
        ({"orderings": (None, np.arange(64.0))}, InputError, "cols has dtype float64"),
        ({"backend": "torch"}, InputError, "backend='torch' is unknown"),
        ({"backend": None}, InputError, "backend=None is unknown"),
        ({"workers": 0}, InputError, "workers=0 is not a positive number"),
        ({"memory": "plenty"}, InputError, "memory='plenty' is not a positive number of bytes"),
        ({"memory": -1}, InputError, "memory=-1 is not a positive number of bytes"),
        ({"memory": 1000}, MemoryBudgetError, "memory=1000 B is too small .*the least that works is memory="),
        ({"client": "localhost"}, InputError, "client='localhost' is a str"),
        ({"source": MATRIX[:, :48]}, DButterflyError, "holds the run of another matrix"),
        ({"source": "missing"}, SourceError, "'missing' does not exist"),
    ],
    ids=str,
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_bad_argument_is_named_and_nothing_is_lost(arguments, error, message, resume, stored):
    store, fact = stored
    before = snapshot(store)
    with pytest.raises(error, match=message):
        dbf.factorize(**({"source": MATRIX, "store": store, "resume": resume} | arguments))
    assert snapshot(store) == before
    assert_same(dbf.open(store), fact)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    store = tmp_path_factory.mktemp("stored") / "run"
    return store, dbf.factorize(MATRIX, store=store)


def test_a_gpu_that_is_not_there_is_missed():
    try:
        import cupy

        if cupy.is_available():
            pytest.skip("there is a GPU here")
    except ImportError:
        pass
    with pytest.raises(InputError, match=r'backend="cupy" (needs CuPy; install it with|finds no CUDA device)'):
        dbf.factorize(MATRIX, backend="cupy")


@pytest.mark.slow
def test_a_gpu_that_workers_do_not_have_is_missed(client):
    with pytest.raises(InputError, match='backend="cupy"'):
        dbf.factorize(MATRIX, backend="cupy", client=client)


@pytest.mark.parametrize("orderings", [None, (None, "bitreversal"), (np.arange(48)[::-1], None)])
@pytest.mark.parametrize("kind", ["array", "zarr", "entries"])
def test_the_least_memory_is_what_it_says(kind, orderings, tmp_path):
    source = sources(MATRIX, tmp_path)[kind]
    least = least_memory(source, orderings=orderings)
    with pytest.raises(MemoryBudgetError):
        dbf.factorize(source, memory=least - 1, orderings=orderings)
    fact = dbf.factorize(source, memory=least, orderings=orderings)
    assert fact.record["plan"]["peak_bytes"] <= least
    assert_same(fact, dbf.factorize(MATRIX, tree=fact.tree, orderings=orderings))


def test_errors_are_of_the_kinds_that_numpy_users_catch():
    with pytest.raises(ValueError, match="passes"):
        dbf.factorize(MATRIX, passes=5)
    with pytest.raises(MemoryError, match="memory"):
        dbf.factorize(MATRIX, memory=1)
