"""Arguments of every kind: an error that is meant for the caller, soon, and before anything of a matrix is read."""

import contextlib
import functools
import io
import math
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbutterfly as dbf
from dbutterfly.cli import main
from dbutterfly.errors import DButterflyError
from tests.support.odd_values import odd_values

N = 4
MATRIX = np.asarray(dbf.matrices.orthogonal_butterfly(N, seed=0))
FOUND = dbf.factorize(MATRIX)
FUNCTIONS = {
    "factorize": (dbf.factorize, ("chain", "tree", "rank", "tol", "passes", "orderings", "points", "weights", "memory",
                                  "device_memory", "workers", "backend", "missing", "resume", "progress", "sweeps",
                                  "confirm", "check_fit", "client", "form", "eta", "leaf", "symmetric")),
    "advise": (dbf.advise, ("points", "weights", "tol", "read", "seed", "workers", "decode")),
    "plan": (dbf.plan, ("chain", "tree", "rank", "tol", "passes", "orderings", "points", "weights", "memory",
                        "device_memory", "workers", "backend", "client", "form", "eta", "leaf", "symmetric")),
    "identify": (dbf.identify, ("chain", "method", "levels", "orderings", "rank", "client", "workers", "memory", "seed",
                                "budget", "backend")),
    "verify": (dbf.verify, ("factorization", "samples", "seed", "client", "memory", "workers", "progress")),
    "stream_product": (dbf.stream_product, ("operator", "client", "memory", "workers", "overwrite", "progress")),
}  # fmt: skip


def many(examples):
    """The same examples on every machine; one that takes five seconds has failed."""
    return settings(
        max_examples=examples,
        deadline=5000,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Reads:
    """Source that counts how often it is read."""

    def __init__(self):
        self.count = 0

    def __call__(self, rows, cols):
        self.count += 1
        return MATRIX[np.ix_(rows, cols)]

    def __repr__(self):
        return "counted"


def attempt(function, *args, **kwargs):
    """Whether a call was refused as it should be; any other error is raised."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except DButterflyError as error:
            message = str(error)
        else:
            return False
    assert len(message) < 4000, "a message is read by people"
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_that_compute(name, capsys):
    function, arguments = FUNCTIONS[name]

    @many(250)
    @given(given_=st.dictionaries(st.sampled_from(arguments), odd_values(), min_size=1, max_size=2))
    def check(given_):
        reads = Reads()
        source = dbf.entries(reads, (N, N), float)
        first = {"verify": {"factorization": FOUND}, "stream_product": {"operator": FOUND.operator}}.get(name, {})
        place = {"destination": zarr.storage.MemoryStore()} if name == "stream_product" else {}
        if attempt(function, **{**first, "source": source, **place, **given_}) and "tol" not in given_:
            assert reads.count == 0

    check()


CHAINS = [
    dbf.Chain,
    dbf.Chain.from_any,
    dbf.Chain.square_dyadic,
    dbf.Chain.chainable,
    dbf.Chain.monarch,
    functools.partial(dbf.Chain.chainable, (64, 64)),
    functools.partial(dbf.Chain.chainable, (64, 64), 2),
    functools.partial(dbf.Chain.monarch, (97, 10**18)),
    functools.partial(dbf.Chain.monarch, (2, 5), None),
    dbf.Chain.chainable((4, 4)).cut,
    dbf.Chain.chainable((4, 4)).of_rank,
]
SIDES = st.one_of(
    st.integers(-1, 2**63 + 1), st.integers(-1, 2**63 + 1).map(np.uint64) if False else st.integers(1, 64)
)


@many(250)
@given(make=st.sampled_from(CHAINS), value=st.one_of(odd_values(), SIDES, st.tuples(SIDES, SIDES)))
def test_chains(make, value):
    attempt(make, value)


OPERATOR = FOUND.operator
CALLS = {
    "ButterflyOperator": dbf.ButterflyOperator,
    "orderings": lambda value: dbf.ButterflyOperator(FOUND.ks_values, value),
    "workers": lambda value: OPERATOR.apply(np.ones(N), workers=value),
    "out": lambda value: OPERATOR.apply(np.ones(N), out=value),
    "norm": OPERATOR.norm,
    "norm tol": lambda value: OPERATOR.norm(2, tol=value),
    "norm seed": lambda value: OPERATOR.norm(1, seed=value),
    "fuse": OPERATOR.fuse,
    "astype": OPERATOR.astype,
    "prune": OPERATOR.prune,
    "from_lazylinop": dbf.ButterflyOperator.from_lazylinop,
    "Orderings": dbf.Orderings,
    "Orderings.from_any": dbf.Orderings.from_any,
}
OPERATIONS = {
    "* number": lambda value: OPERATOR * value,
    "number *": lambda value: value * OPERATOR,
    "/": lambda value: OPERATOR / value,
    "**": lambda value: OPERATOR**value,
    "+": lambda value: OPERATOR + value,
}
"""What they do not support is a TypeError, and another shape a ValueError, as of NumPy's arrays."""


@many(400)
@given(name=st.sampled_from([*CALLS, *OPERATIONS]), value=odd_values())
def test_operators(name, value):
    expected = (TypeError, ValueError) if name in OPERATIONS or name == "out" else ()
    with contextlib.suppress(*expected):
        attempt(CALLS.get(name) or OPERATIONS[name], value)


MATRICES = {
    "entries f": lambda value: dbf.entries(value, (N, N), float),
    "entries shape": lambda value: dbf.entries(Reads(), value, float),
    "entries dtype": lambda value: dbf.entries(Reads(), (N, N), value),
    "entries sampled": lambda value: dbf.entries(Reads(), (N, N), float, sampled=value),
    "block": lambda value: dbf.entries(Reads(), (N, N), float).block(value, [0]),
    "item": lambda value: dbf.entries(Reads(), (N, N), float)[value],
    "dft": dbf.matrices.dft,
    "dtype": lambda value: dbf.matrices.dct2(N, dtype=value),
    "seed": lambda value: dbf.matrices.orthogonal_butterfly(N, seed=value),
    "gaussian": dbf.matrices.gaussian_butterfly,
    "helmholtz": lambda value: dbf.matrices.helmholtz(N, geometry=value),
    "tol": lambda value: dbf.matrices.helmholtz(N, tol=value),
    "wavenumber": lambda value: dbf.matrices.helmholtz(N, wavenumber=value),
    "hankel": lambda value: dbf.matrices.hankel(N, order=value),
    "cauchy": lambda value: dbf.matrices.cauchy(N, points=value),
    "eps": lambda value: dbf.matrices.noisy(MATRIX, value),
    "noisy": lambda value: dbf.matrices.noisy(value, 0.1),
    "shuffled": dbf.matrices.shuffled,
    "chunks": lambda value: dbf.matrices.write(MATRIX, zarr.storage.MemoryStore(), chunks=value),
    "overwrite": lambda value: dbf.matrices.write(MATRIX, zarr.storage.MemoryStore(), overwrite=value),
    "cluster": dbf.clusters.choose,
    "local workers": lambda value: dbf.clusters.choose("local", workers=value),
    "local memory": lambda value: dbf.clusters.choose("local", memory=value),
    "slurm": lambda value: dbf.clusters.choose("slurm", walltime=value, partition=value),
    "wait": lambda value: dbf.clusters.choose("local", wait=value),
    "tls": lambda value: dbf.clusters.choose("local", tls=value),
    "dashboard": lambda value: dbf.clusters.choose("local", dashboard=value),
}


@many(400)
@given(name=st.sampled_from([*MATRICES]), value=odd_values())
def test_matrices_and_clusters(name, value):
    attempt(MATRICES[name], value)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    place = tmp_path_factory.mktemp("odd")
    np.save(place / "z.npy", MATRIX)
    np.save(place / "x.npy", np.ones(N))
    dbf.factorize(MATRIX, store=place / "run")
    return place


COMMANDS = {
    "advise z.npy": ("tol", "read", "seed", "workers"),
    "plan z.npy": ("chain", "tree", "rank", "tol", "passes", "orderings", "memory", "workers", "read-bandwidth",
                   "backend", "device", "device-memory", "cluster-option"),
    "factorize z.npy new": ("chain", "tree", "rank", "tol", "passes", "orderings", "memory", "workers", "backend",
                            "device-memory", "missing", "sweeps", "cluster-option"),
    "verify run z.npy": ("samples", "seed", "memory", "workers", "tol", "cluster-option"),
    "identify z.npy rows.npy cols.npy": ("chain", "rank", "method", "levels", "orderings", "seed", "budget", "memory",
                                         "workers"),
    "generate dft new.zarr": ("n", "shape", "dtype", "noise", "seed", "chunks"),
    "apply run x.npy y.npy": ("memory", "workers", "cluster-option"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line(command, places, monkeypatch):
    monkeypatch.chdir(places)

    @many(40)
    @given(option=st.sampled_from(COMMANDS[command]), value=odd_values())
    def check(option, value):
        text = value if isinstance(value, str) else text_of(value)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            more = ["--overwrite"] if command.startswith("generate") else []
            more += ["--n", "4"] if more and option not in ("n", "shape") else []
            code = main([*command.split(), *more, f"--{option}={text}"])
        assert code in (0, 2, 3), err.getvalue()
        if code == 2:
            assert err.getvalue().count("\n") == 1
            assert "error" in err.getvalue()

    check()


def text_of(value):
    try:
        return str(value).replace("\0", "")[:1000]
    except (ValueError, ZeroDivisionError):
        return "10" * 5000


def test_every_argument_has_a_reader():
    """An argument that no reader knows would be looked at when the work is done, or never."""
    elsewhere = {"source", "destination", "store", "cluster"}  # read by the rooms that open them
    import inspect

    from dbutterfly.execution.arguments import READERS

    own = {"orderings", "method", "levels", "factorization", "operator"}
    for function, _ in FUNCTIONS.values():
        assert set(inspect.signature(function).parameters) <= {*READERS, *own, *elsewhere}
    assert math.isfinite(FOUND.certificate.error_bound)
