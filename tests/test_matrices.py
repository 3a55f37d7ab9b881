import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import zarr
import zarr.storage

from dbutterfly import matrices
from dbutterfly.chain import Chain
from dbutterfly.entries import Entries
from dbutterfly.errors import ChainError, InputError, SourceError, StoreError
from dbutterfly.matrices import KnownMatrix
from dbutterfly.orderings import Orderings, digit_reversal

DTYPES = ["float32", "float64", "complex64", "complex128"]
SIZES = [1, 2, 3, 8, 12, 30, 31, 64]
CHAINS = [
    Chain.square_dyadic(32),
    Chain.chainable((24, 90)),
    Chain.monarch((21, 16)),
    Chain([(1, 5, 7, 1)]),
    Chain.chainable((1, 1)),
    Chain.chainable((48, 36), rank=2),
    Chain.chainable((64, 64), rank=3, leaf=4),
    Chain([(1, 2, 4, 6), (2, 4, 9, 3), (6, 9, 2, 1)]),  # junctions of rank 2 and 3
]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def factor_matrix(ks):
    a, b, c, d = ks.shape
    matrix = np.zeros((a, b, d, a, c, d), ks.dtype)
    for i in range(a):
        for k in range(d):
            matrix[i, :, k, i, :, k] = ks[i, :, :, k]
    return matrix.reshape(a * b * d, a * c * d)


def random_factors(chain, dtype, seed=0):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((2, *pattern)) for pattern in chain]
    return [(re + 1j * im if np.dtype(dtype).kind == "c" else re).astype(dtype) for re, im in parts]


def standard_order(matrix):
    rows, cols = matrix.orderings.permutations(matrix.chain)
    return matrix[slice(None) if rows is None else rows, slice(None) if cols is None else cols]


def excess_rank(dense, chain):
    """Largest singular value past the rank of its junction, over all blocks of all cuts, relative to the norm."""
    worst = 0.0
    for position in range(1, len(chain)):
        (p, u, q, v, rank), _, _ = chain.cut(position)
        blocks = dense.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        beyond = np.linalg.svd(blocks, compute_uv=False)[..., rank:]
        worst = max(worst, beyond.max(initial=0.0))
    return worst / np.linalg.norm(dense)


def scattered_blocks(shape):
    rng = np.random.default_rng(7)
    (rows, cols) = shape
    yield slice(None), slice(None)
    yield slice(rows // 3, rows // 3 + 2), slice(None, None, -1)
    yield rng.permutation(rows), rng.integers(0, cols, 5)
    yield [rows - 1], slice(cols // 2, None)


# ---- transforms


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_dft(n, dtype):
    matrix = matrices.dft(n, dtype=dtype)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, scipy.linalg.dft(n), atol=2 * eps(dtype) + eps(float) * n * n, rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    assert (matrix.shape, matrix.chain.shape) == ((n, n), (n, n))
    assert matrix.orderings.describe() == "rows standard, columns bitreversal"
    assert repr(matrix) == f"KnownMatrix(dft({n}), shape=({n}, {n}), dtype={dtype})"


def test_dft_is_exact_at_quarter_turns_and_rounded_once_elsewhere():
    np.testing.assert_array_equal(matrices.dft(4)[1, :], [1, -1j, -1, 1j])
    np.testing.assert_array_equal(matrices.dft(12)[1, [0, 3, 6, 9]], [1, -1j, -1, 1j])
    np.testing.assert_allclose(np.abs(np.asarray(matrices.dft(720))), 1, rtol=4e-16)
    assert matrices.dft(12)[1, 1].imag == pytest.approx(-0.5, rel=2e-16)


def test_dft_is_accurate_to_one_unit_in_the_last_place():
    turns = np.arange(720, dtype=np.longdouble) / 720
    wanted = np.exp(-2j * np.arccos(np.longdouble(-1)) * turns)
    assert np.abs(matrices.dft(720)[1, :] - wanted).max() < eps(float)


def test_dft_phases_do_not_overflow():
    n = 999_983  # the largest phase is n^2, beyond int32
    row = matrices.dft(n)[n - 1, n - 4 :]
    wanted = np.exp(-2j * np.pi * np.array([4, 3, 2, 1]) / n)
    np.testing.assert_allclose(row, wanted, rtol=4e-16)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_hadamard(n, dtype):
    matrix = matrices.hadamard(n, dtype=dtype)
    assert np.asarray(matrix).dtype == dtype
    np.testing.assert_array_equal(matrix, scipy.linalg.hadamard(n))
    assert matrix.norm == n
    assert matrix.chain == Chain.square_dyadic(n)
    assert standard_order(matrix).shape == (n, n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_dct2(n, dtype):
    matrix = matrices.dct2(n, dtype=dtype)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, scipy.fft.dct(np.eye(n), axis=0, norm="ortho"), atol=3 * eps(dtype), rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-6)
    assert matrix.chain is None


def test_dct2_has_blocks_of_rank_four_under_bit_reversed_columns():
    n, chain = 256, Chain.square_dyadic(256)
    dense = matrices.dct2(n)[:, digit_reversal(chain.col_radices)]
    for position in range(1, len(chain)):
        (p, u, q, v, _), _, _ = chain.cut(position)
        blocks = dense.reshape(p, u, q, v).transpose(1, 2, 0, 3)
        assert np.linalg.matrix_rank(blocks, tol=1e-12).max() <= 4


@pytest.mark.parametrize(
    "matrix",
    [
        *(matrices.dft(n) for n in (2, 12, 30, 64, 105)),
        matrices.hadamard(64),
        matrices.orthogonal_butterfly(64, seed=1),
        matrices.orthogonal_butterfly(64, dtype=complex, seed=1),
        *(matrices.gaussian_butterfly(chain, seed=1) for chain in CHAINS),
        matrices.gaussian_butterfly((36, 48), seed=1),
        matrices.butterfly(random_factors(CHAINS[1], complex), ("bitreversal", "bitreversal")),
        matrices.shuffled(matrices.dft(60), seed=1),
    ],
    ids=lambda matrix: repr(matrix.f)[:60],
)
def test_every_block_of_every_cut_has_the_rank_of_its_junction(matrix):
    assert excess_rank(standard_order(matrix), matrix.chain) < 1e-14


# ---- butterflies


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_butterfly_is_the_product_of_its_factors(chain, dtype):
    factors = random_factors(chain, dtype)
    matrix = matrices.butterfly(factors)
    wanted = factor_matrix(factors[0].astype(complex))
    for factor in factors[1:]:
        wanted = wanted @ factor_matrix(factor.astype(complex))
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense, wanted, atol=20 * eps(dtype) * np.abs(wanted).max(), rtol=0)
    assert matrix.norm == pytest.approx(np.linalg.norm(wanted), rel=1e-12)
    assert matrix.chain == chain


@pytest.mark.parametrize("orderings", [("bitreversal", None), (None, "bitreversal"), "permuted"])
def test_butterfly_with_orderings(orderings):
    chain, rng = Chain.chainable((24, 90)), np.random.default_rng(3)
    if orderings == "permuted":
        orderings = (rng.permutation(24), rng.permutation(90))
    factors = random_factors(chain, float)
    stored = matrices.butterfly(factors, orderings)
    np.testing.assert_array_equal(standard_order(stored), matrices.butterfly(factors))
    assert stored.norm == matrices.butterfly(factors).norm


def test_dft_from_its_factors():
    # i * j / n mod 1 is the sum over l of i_l * (j_1 + 2 j_2 + ... + 2^(l-1) j_l) / 2^l, for row digits i_l from the
    # most significant one on and column digits j_l from the least significant one on.
    factors = []
    for level, (a, _, _, d) in enumerate(Chain.square_dyadic(16)):
        column = digit_reversal((2,) * level)[:, None] + a * np.arange(2)
        ks = np.ones((a, 2, 2, d), complex)
        ks[:, 1] = np.exp(-2j * np.pi * column / (2 * a))[:, :, None]
        factors.append(ks)
    np.testing.assert_allclose(matrices.butterfly(factors, (None, "bitreversal")), scipy.linalg.dft(16), atol=1e-14)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_blocks_do_not_depend_on_the_request(chain):
    matrix = matrices.gaussian_butterfly(chain, seed=5)
    dense = np.asarray(matrix)
    for rows, cols in scattered_blocks(chain.shape):
        np.testing.assert_array_equal(matrix.block(rows, cols), dense[rows][:, cols])


def test_single_entries_of_a_huge_butterfly():
    n = 1 << 16
    factors = random_factors(Chain.square_dyadic(n), float)
    matrix = matrices.butterfly(factors)
    for i, j in [(0, 0), (n - 1, n - 1), (12345, 54321)]:
        wanted = 1.0
        for ks in factors:
            _, _, _, d = ks.shape
            wanted *= ks[j // (2 * d), i // d % 2, j // d % 2, i % d]
        assert matrix[i, j] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_orthogonal_butterfly(dtype):
    n = 64
    matrix = matrices.orthogonal_butterfly(n, dtype=dtype, seed=3)
    dense = np.asarray(matrix)
    assert dense.dtype == dtype
    np.testing.assert_allclose(dense @ dense.conj().T, np.eye(n), atol=30 * eps(dtype))
    assert matrix.norm == pytest.approx(np.sqrt(n), rel=1e-5)
    if dense.dtype.kind == "c":
        assert np.abs(dense.imag).max() > 0.01


def test_gaussian_butterfly_has_unit_variance():
    for dtype in (float, complex):
        norms = [matrices.gaussian_butterfly(64, dtype=dtype, seed=seed).norm for seed in range(200)]
        assert np.mean(np.square(norms)) == pytest.approx(64**2, rel=0.2)


@pytest.mark.parametrize(
    ("given", "chain"),
    [
        (16, Chain.square_dyadic(16)),
        (np.int64(16), Chain.square_dyadic(16)),
        ((16, 16), Chain.square_dyadic(16)),
        (12, Chain.chainable((12, 12))),
        ((12, 18), Chain.chainable((12, 18))),
        ([(1, 2, 3, 5), (3, 5, 2, 1)], Chain([(1, 2, 3, 5), (3, 5, 2, 1)])),
        (((1, 2, 3, 5), (3, 5, 2, 1)), Chain([(1, 2, 3, 5), (3, 5, 2, 1)])),
    ],
)
def test_gaussian_butterfly_takes_sizes_shapes_and_chains(given, chain):
    assert matrices.gaussian_butterfly(given, seed=0).chain == chain


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: matrices.orthogonal_butterfly(32, seed=seed),
        lambda seed: matrices.gaussian_butterfly((12, 18), dtype="complex64", seed=seed),
        lambda seed: matrices.noisy(matrices.dft(16), 0.1, seed=seed),
        lambda seed: matrices.shuffled(matrices.dft(16), seed=seed),
    ],
)
def test_seeds(make):
    np.testing.assert_array_equal(make(4), make(4))
    np.testing.assert_array_equal(make(np.random.default_rng(4)), make(4))
    assert not np.array_equal(make(4), make(5))
    assert not np.array_equal(make(None), make(None))


@pytest.mark.parametrize(
    "matrix",
    [
        matrices.dft(12),
        matrices.hadamard(8),
        matrices.dct2(9),
        matrices.gaussian_butterfly(CHAINS[5], seed=0),
        matrices.shuffled(matrices.noisy(matrices.dft(12), 0.2, seed=1), seed=2),
    ],
    ids=repr,
)
def test_pickles(matrix):
    copy = pickle.loads(pickle.dumps(matrix))
    np.testing.assert_array_equal(copy, matrix)
    assert (copy.norm, copy.chain, repr(copy)) == (matrix.norm, matrix.chain, repr(matrix))


# ---- noise and shuffles


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_has_the_size_asked_for(dtype):
    clean = matrices.gaussian_butterfly(256, dtype=dtype, seed=0)
    matrix = matrices.noisy(clean, 0.1, seed=1)
    noise = np.asarray(matrix, "complex128") - np.asarray(clean)
    assert np.asarray(matrix).dtype == dtype
    assert np.linalg.norm(noise) == pytest.approx(0.1 * clean.norm, rel=0.02)
    assert matrix.norm == pytest.approx(np.linalg.norm(np.asarray(matrix)), rel=0.01)
    assert matrix.norm == pytest.approx(clean.norm * np.sqrt(1.01))
    if matrix.dtype.kind == "c":
        assert np.linalg.norm(noise.real) == pytest.approx(np.linalg.norm(noise.imag), rel=0.02)
    assert len(np.unique(noise.real.round(12))) > 0.9 * noise.size  # no cell is drawn twice
    assert abs(np.mean(noise)) < 4 * np.std(noise) / 256


def test_noise_does_not_depend_on_the_blocks():
    shape = (70, 2100)  # several cells of noise, cut at both ends
    matrix = matrices.noisy(np.zeros(shape, np.float32) + 1, 0.5, seed=9)
    dense = np.asarray(matrix)
    for rows, cols in scattered_blocks(shape):
        np.testing.assert_array_equal(matrix.block(rows, cols), dense[rows][:, cols])
    tiles = [np.hstack([matrix[i : i + 9, j : j + 700] for j in range(0, 2100, 700)]) for i in range(0, 70, 9)]
    np.testing.assert_array_equal(np.vstack(tiles), dense)


def test_noise_keeps_chain_and_orderings():
    clean = matrices.dft(12)
    matrix = matrices.noisy(clean, 0.0, seed=0)
    assert matrix.chain is clean.chain
    assert matrix.orderings is clean.orderings
    np.testing.assert_array_equal(matrix, clean)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_on_arrays_and_entry_functions(dtype):
    array = np.random.default_rng(0).standard_normal((30, 40)).astype(dtype)
    plain = Entries(lambda i, j: array[np.ix_(i, j)], array.shape, dtype)
    for given in (array, plain):
        matrix = matrices.noisy(given, 0.1, seed=2)
        assert isinstance(matrix, KnownMatrix)
        assert matrix.chain is None
        assert matrix.norm == pytest.approx(np.linalg.norm(array) * np.sqrt(1.01), rel=1e-6)
        assert np.linalg.norm(np.asarray(matrix) - array) == pytest.approx(0.1 * np.linalg.norm(array), rel=0.1)


@pytest.mark.parametrize(
    "matrix",
    [
        matrices.dft(60),
        matrices.hadamard(32),
        matrices.gaussian_butterfly((24, 90), seed=0),
        matrices.butterfly(random_factors(Chain.chainable((24, 90)), float), ("bitreversal", np.arange(90)[::-1])),
        matrices.noisy(matrices.dft(32), 0.1, seed=0),
    ],
    ids=repr,
)
def test_shuffled_matrices_are_put_in_order_by_their_orderings(matrix):
    once = matrices.shuffled(matrix, seed=1)
    twice = matrices.shuffled(once, seed=2)
    for shuffled in (once, twice):
        shuffled.orderings.validate(matrix.shape)
        assert not np.array_equal(shuffled, matrix)
        assert (shuffled.norm, shuffled.chain) == (matrix.norm, matrix.chain)
        np.testing.assert_array_equal(standard_order(shuffled), standard_order(matrix))


def test_shuffled_arrays_are_put_back():
    array = np.arange(12.0).reshape(3, 4)
    shuffled = matrices.shuffled(array, seed=0)
    np.testing.assert_array_equal(shuffled[shuffled.orderings.rows, shuffled.orderings.cols], array)


# ---- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrices.dft(0), "n=0 is not positive"),
        (lambda: matrices.dft(2.5), "n=2.5 is not an integer"),
        (lambda: matrices.dft(4, dtype=float), "dtype=float64: a Fourier matrix is complex"),
        (lambda: matrices.dct2(4, dtype=int), "is not supported; use float32"),
        (lambda: matrices.hadamard(12), "n=12 is not a power of two; hadamard"),
        (lambda: matrices.orthogonal_butterfly(12), "n=12 is not a power of two; orthogonal_butterfly"),
        (lambda: matrices.orthogonal_butterfly(1), "n=1"),
        (lambda: matrices.orthogonal_butterfly(4, seed=-1), "seed=-1 is not usable"),
        (lambda: matrices.gaussian_butterfly(4, seed="x"), "seed='x' is not usable"),
        (lambda: matrices.gaussian_butterfly((4, 0)), "n=0 is not positive"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2))]), r"ks_values\[0\] has shape \(1, 2, 2\)"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2, 1), int)]), "dtype.*int64.* is not supported"),
        (lambda: matrices.butterfly([np.ones((1, 2, 2, 1))], ([0, 0], None)), "rows is not a permutation"),
        (lambda: matrices.noisy(matrices.dft(2), -0.1), "eps=-0.1 is not a relative size"),
        (lambda: matrices.noisy(matrices.dft(2), np.nan), "eps=nan"),
        (lambda: matrices.noisy([[1.0]], 0.1), "matrix of type list"),
        (lambda: matrices.noisy(np.ones(3), 0.1), r"shape \(3,\)"),
        (lambda: matrices.noisy(np.ones((3, 3), int), 0.1), r"convert other arrays with \.astype"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "chain",
    [
        Chain([(2, 2, 2, 1)]),
        Chain([(1, 2, 2, 2)]),
        Chain([(2, 2, 2, 1), (1, 2, 2, 2)]),
    ],
)
def test_butterflies_need_a_dense_chain(chain):
    with pytest.raises(ChainError, match="not a chainable chain of a full matrix"):
        matrices.gaussian_butterfly(chain)


def test_shuffled_needs_a_chain_for_bit_reversal():
    orphan = KnownMatrix(matrices.dft(4).f, (4, 4), complex, norm=4, orderings=("bitreversal", None))
    with pytest.raises(InputError, match="bit reversal but has no chain"):
        matrices.shuffled(orphan)


# ---- writing


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunks", [None, (7, 5), (1000, 3)])
def test_write(tmp_path, dtype, chunks):
    matrix = matrices.noisy(matrices.gaussian_butterfly((24, 30), dtype=dtype, seed=0), 0.1, seed=1)
    array = matrices.write(matrix, tmp_path / "z.zarr", chunks=chunks)
    assert isinstance(array, zarr.Array)
    assert (array.shape, array.dtype, array.metadata.zarr_format) == (matrix.shape, dtype, 3)
    assert array.chunks == ((24, 30) if chunks is None else tuple(np.minimum(chunks, matrix.shape)))
    assert array.compressors == ()
    again = zarr.open_array(tmp_path / "z.zarr", mode="r")
    np.testing.assert_array_equal(again[:], matrix)
    assert again.attrs["dbutterfly_matrix"] == repr(matrix.f)


def test_write_to_a_store_in_memory_with_compression_and_progress():
    store, calls = zarr.storage.MemoryStore(), []
    array = matrices.write(
        matrices.hadamard(64),
        store,
        chunks=(32, 16),
        compressors=zarr.codecs.ZstdCodec(),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert len(array.compressors) == 1
    assert calls == [(done, 8) for done in range(1, 9)]
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[:], scipy.linalg.hadamard(64))


def test_write_of_plain_matrices(tmp_path):
    array = np.random.default_rng(0).standard_normal((9, 11)).astype(">f8")
    written = matrices.write(array, str(tmp_path / "array.zarr"), chunks=(4, 4))
    np.testing.assert_array_equal(written[:], array)
    assert written.attrs["dbutterfly_matrix"] == "array"
    plain = Entries(lambda i, j: array[np.ix_(i, j)], array.shape, float)
    written = matrices.write(plain, tmp_path / "entries.zarr", chunks=(4, 4))
    np.testing.assert_array_equal(written[:], array)
    assert written.attrs["dbutterfly_matrix"] == "entries"


def test_write_holds_a_few_chunks_only(tmp_path):
    matrix = matrices.noisy(matrices.dft(2048, dtype="complex64"), 0.1, seed=0)  # 32 MiB
    matrix.block(slice(0, 1), slice(0, 1))  # the table of roots is made once, whatever is written
    chunk = 64 * 2048 * 8
    tracemalloc.start()
    matrices.write(matrix, tmp_path / "z.zarr", chunks=(64, 2048))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * chunk


@pytest.mark.parametrize("kind", ["array", "group", "array of format 2"])
def test_write_refuses_to_overwrite_unless_asked(tmp_path, kind):
    place = tmp_path / "z.zarr"
    if kind == "group":
        zarr.create_group(place).create_array("inside", shape=(2,), dtype="float64")[:] = 1
    else:
        old = zarr.create_array(place, shape=(2,), dtype="float64", zarr_format=2 if "2" in kind else 3)
        old[:] = 1
    before = files(place)
    with pytest.raises(StoreError, match=f"already holds a Zarr {kind.split()[0]}; pass overwrite=True"):
        matrices.write(matrices.dft(4), place)
    assert files(place) == before
    matrices.write(matrices.dft(4), place, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(place, mode="r")[:], matrices.dft(4))
    assert not any("inside" in path.parts or path.name == ".zarray" for path in files(place))


@pytest.mark.parametrize("overwrite", [False, True])
def test_write_never_touches_other_files(tmp_path, overwrite):
    directory, file = tmp_path / "papers", tmp_path / "notes.txt"
    directory.mkdir()
    (directory / "draft.tex").write_text("x")
    file.write_text("y")
    before = files(tmp_path)
    for place in (directory, str(directory), file):
        with pytest.raises(StoreError, match="holds files that are not Zarr"):
            matrices.write(matrices.dft(4), place, overwrite=overwrite)
    assert files(tmp_path) == before


def test_write_into_an_empty_directory(tmp_path):
    matrices.write(matrices.dft(4), tmp_path)
    np.testing.assert_array_equal(zarr.open_array(tmp_path, mode="r")[:], matrices.dft(4))


def test_write_to_what_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="store=5 cannot be opened: TypeError"):
        matrices.write(matrices.dft(4), 5)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="no array can be created at"):
        matrices.write(matrices.dft(4), tmp_path / "file" / "z.zarr")


@pytest.mark.parametrize("chunks", [(0, 4), (4,), 4, (2.5, 4), (-1, 4)])
def test_write_refuses_bad_chunks_before_it_creates_anything(tmp_path, chunks):
    with pytest.raises(InputError, match="chunks="):
        matrices.write(matrices.dft(4), tmp_path / "z.zarr", chunks=chunks)
    assert not files(tmp_path)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((2, 2), int), [[1.0]], None])
def test_write_refuses_what_is_no_matrix(tmp_path, matrix):
    with pytest.raises(InputError, match=r"matrix of type|is not supported"):
        matrices.write(matrix, tmp_path / "z.zarr")
    assert not files(tmp_path)


def test_an_array_that_was_not_written_to_its_end_says_so(tmp_path):
    def broken(rows, cols):
        if rows.min() >= 2:
            raise OSError("sensor off")
        return np.ones((rows.size, cols.size))

    with pytest.raises(SourceError, match=r"rows 2\.\.3, cols 0\.\.3: OSError: sensor off"):
        matrices.write(Entries(broken, (4, 4), float), tmp_path / "z.zarr", chunks=(2, 4))
    assert "dbutterfly_matrix" not in zarr.open_array(tmp_path / "z.zarr", mode="r").attrs


class TestDefaultChunks:
    @pytest.mark.parametrize("n", [64, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1000, 3**9])
    @pytest.mark.parametrize("dtype", ["complex64", "complex128"])
    def test_slabs_where_both_sides_are_strided(self, n, dtype):
        matrix = matrices.dft(n, dtype=dtype)
        rows, cols = matrices.default_chunks(matrix)
        split = matrix.chain.cut(len(matrix.chain) // 2)[0]
        assert split.u % rows == 0
        assert rows <= max(split.u // 4, 1)
        assert rows * cols * matrix.dtype.itemsize <= 8 << 20
        assert cols == n or (rows == 1 and n % cols == 0)

    @pytest.mark.parametrize("n", [64, 1 << 14, 1000, 3**9, 10007, 2 * 10007])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_squares_otherwise(self, n, dtype):
        matrix = matrices.dct2(n, dtype=dtype)
        rows, cols = matrices.default_chunks(matrix)
        itemsize = matrix.dtype.itemsize
        assert rows <= n
        assert cols <= n
        assert min(n * n * itemsize, 1 << 19) <= rows * cols * itemsize <= 8 << 20

    def test_examples(self):
        assert matrices.default_chunks(matrices.dft(1 << 14, dtype="complex64")) == (16, 1 << 14)
        assert matrices.default_chunks(matrices.hadamard(1 << 14, dtype="float32")) == (1024, 1024)
        assert matrices.default_chunks(matrices.shuffled(matrices.dft(1 << 12), seed=0)) == (512, 1024)
        assert matrices.default_chunks(np.ones((5, 3000))) == (5, 1000)
        assert matrices.default_chunks(matrices.dft(7)) == (7, 7)


def test_norm_and_orderings_of_a_known_matrix_are_normalised():
    made = KnownMatrix(matrices.dft(4).f, (4, 4), complex, norm=np.float32(4))
    assert type(made.norm) is float
    assert isinstance(made.orderings, Orderings)


def test_public_names():
    assert sorted(matrices.__all__) == matrices.__all__
    for name in matrices.__all__:
        assert getattr(matrices, name).__doc__
