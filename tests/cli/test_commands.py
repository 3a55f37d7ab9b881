import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

import dbutterfly as dbf
from dbutterfly.cli import main
from dbutterfly.cli.app import app
from dbutterfly.cli.on_demand import COMMANDS as SUMMARIES
from dbutterfly.errors import MemoryBudgetError, MissingChunksWarning, TaskError
from dbutterfly.execution.clusters import Local
from tests.support.dask_processes import surroundings
from tests.support.logged_sources import held
from tests.support.parts import require
from tests.support.patience import PATIENCE, wait_until

COMMANDS = [
    "demo",
    "generate",
    "advise",
    "plan",
    "factorize",
    "identify",
    "apply",
    "verify",
    "prove",
    "info",
    "cluster",
    "compile",
    "doctor",
    "report",
]
FOURIER = ("--orderings", "none,bitreversal")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty directory; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(line, *more):
        capsys.readouterr()
        code = main([*shlex.split(line), *more])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def done(run):
    """Run a command line that must succeed; returns stdout, as values where it is JSON."""

    def call(line, *more):
        code, out, err = run(line, *more)
        assert code == 0, err
        return strict_json(out) if "--json" in line else out

    return call


def strict_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def refused(result, message, code=2):
    """One clear line on stderr, nothing on stdout."""
    found, out, err = result
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "dbutterfly", *arguments], capture_output=True, text=True, timeout=PATIENCE, **options
    )


# ---- the program


@pytest.mark.slow
def test_help_version_and_both_ways_to_start_it(tmp_path):
    listed = process("--help")
    assert listed.returncode == 0
    assert "..." not in listed.stdout.partition("Commands:")[2], "a first sentence is too long"
    assert all(re.search(rf"^  {command} ", listed.stdout, re.MULTILINE) for command in COMMANDS)
    script = Path(sys.executable).with_name("dbutterfly")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    assert (version.returncode, version.stdout) == (0, f"dbutterfly {dbf.__version__}\n")
    failed = process("plan", "nothing.zarr", cwd=tmp_path)
    refused((failed.returncode, failed.stdout, failed.stderr), "source=.*nothing.zarr' does not exist")


COMPLETE = """
eval "$(dbutterfly --show-completion)"
try() { COMP_WORDS=(dbutterfly "$@"); COMP_CWORD=$#; _dbutterfly_completion dbutterfly; echo "${COMPREPLY[@]}"; }
try i
try factorize --chain ''
try verify run z --cluster s
try info run --js
"""


@pytest.mark.slow
def test_bash_completes_commands_options_and_values():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment, shell = surroundings() | {"PATH": path}, ["bash", "--norc", "-c", COMPLETE]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == ["identify info", "chainable dyadic monarch", "slurm sge", "--json"]


def test_no_arguments_show_the_help(run):
    assert run("") == run("--help")


def test_every_command_is_tested_here():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert re.findall(r"^  ([a-z]+)  +\S", result.stdout, re.MULTILINE) == COMMANDS


@pytest.mark.slow
def test_the_examples_of_all_help_texts_run_in_order(done, run):
    np.save("x.npy", np.random.default_rng(0).standard_normal(1024))
    for command in COMMANDS:
        out = done(f"{command} --help")
        assert f"\n\n  {SUMMARIES[command]}\n" in out
        assert "Exit codes: 0 done, 1 failed or interrupted, 2 wrong use or bad input" in " ".join(out.split())
        examples = re.findall(r"^ +dbutterfly (.*)$", out.partition("Examples:")[2], re.MULTILINE)
        assert examples
        for example in examples:
            assert example.split()[0] == command
            assert done(example)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fly", "No such command 'fly'"),
        ("plan", "Missing argument"),
        ("plan z --fast", "No such option"),
        ("plan z --passes many", "Invalid value for '--passes'"),
        ("generate haar z.zarr --n 4", "Invalid value for .*haar"),
    ],
)
def test_wrong_use(run, line, message):
    refused(run(line), message)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TaskError("tile 0..1 failed:\n OSError: no disk"), 1, r"error: tile 0\.\.1 failed: OSError: no disk\n"),
        (RuntimeError("odd"), 1, "error: RuntimeError: odd\n"),
        (KeyboardInterrupt(), 1, "error: interrupted\n"),
        (MemoryBudgetError("memory=1 is too small"), 2, "error: memory=1 is too small\n"),
    ],
)
def test_errors_become_exit_codes(run, monkeypatch, error, code, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(dbf, "plan", fail)
    np.save("z.npy", np.eye(4))
    found, out, err = run("plan z.npy")
    assert (found, out) == (code, "")
    assert re.fullmatch(message, err)


def test_debugging_shows_the_traceback(run, monkeypatch):
    monkeypatch.setenv("DBUTTERFLY_DEBUG", "1")
    code, _, err = run("info nothing.zarr")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error(done):
    done("generate dft z.zarr --n 64 --quiet")
    for arguments in (["plan", "z.zarr", "--json"], ["plan", "z.zarr"]):
        command = [sys.executable, "-m", "dbutterfly", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
            started.stdout.close()
            assert started.stderr.read() == ""
        assert started.returncode == 1


# ---- demo


def test_demo_in_small(run, tmp_path):
    code, out, err = run("demo --n 256 --noise 0.05 --directory kept")
    assert code == 0
    for name in ("Fourier matrix of size 256", "reads", "factorized", "certificate", "verified", "op @ x", "products"):
        assert name in out
    assert "write" in err
    assert "tiles" in err
    assert dbf.open(tmp_path / "kept" / "run.zarr").shape == (256, 256)
    refused(run("demo --n 256 --directory kept --quiet"), "already holds a Zarr array")


@pytest.mark.slow
@pytest.mark.parametrize(("n", "noise"), [(256, 0.01), (12, 0.0), (1, 0.0)])
def test_demo_as_json_leaves_nothing_behind(done, monkeypatch, tmp_path, n, noise):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = done(f"demo --n {n} --noise {noise} --json --quiet")
    assert values["verified_error"] <= values["certificate"]["error_bound"]
    assert values["product_difference"] < 2 * noise + 1e-12
    assert values["plan"]["shape"] == [n, n]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_demo_in_full():
    result = process("demo", "--json")
    assert result.returncode == 0, result.stderr
    values = strict_json(result.stdout)
    assert values["verified_error"] <= values["certificate"]["error_bound"] < 0.011
    assert values["compression"] > 100


# ---- generate


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("dft --n 12", lambda: dbf.matrices.dft(12)),
        ("dft --n 16 --dtype complex64", lambda: dbf.matrices.dft(16, dtype="complex64")),
        ("hadamard --n 16", lambda: dbf.matrices.hadamard(16)),
        ("dct2 --n 10", lambda: dbf.matrices.dct2(10)),
        ("orthogonal --n 16 --seed 3", lambda: dbf.matrices.orthogonal_butterfly(16, seed=3)),
        ("gaussian --n 16 --seed 3", lambda: dbf.matrices.gaussian_butterfly(16, seed=3)),
        ("gaussian --shape 6,10 --seed 3", lambda: dbf.matrices.gaussian_butterfly((6, 10), seed=3)),
        ("helmholtz --n 16", lambda: dbf.matrices.helmholtz(16)),
        ("nudft --n 16 --seed 3", lambda: dbf.matrices.nudft(16, seed=3)),
        ("fourier-integral --n 16 --dtype complex64", lambda: dbf.matrices.fourier_integral(16, dtype="complex64")),
        ("hankel --n 10", lambda: dbf.matrices.hankel(10)),
        ("legendre --n 16 --dtype float32", lambda: dbf.matrices.legendre(16, dtype="float32")),
        ("cauchy --n 12", lambda: dbf.matrices.cauchy(12)),
        ("covariance --n 12 --seed 3", lambda: dbf.matrices.covariance(12, seed=3)),
        ("laplace --n 12", lambda: dbf.matrices.laplace(12)),
        ("graph-kernel --n 12", lambda: dbf.matrices.graph_kernel(12)),
    ],
)
def test_generate_every_kind(done, kind, wanted):
    name, _, options = kind.partition(" ")
    values = done(f"generate {name} z.zarr {options} --chunks 4,5 --quiet --json")
    stored = zarr.open_array("z.zarr", mode="r")
    np.testing.assert_array_equal(stored[:], wanted())
    assert stored.chunks == (4, 5)
    assert values["shape"] == list(stored.shape)
    assert values["chunks"] == [4, 5]


def test_generate_says_which_chain_ordering_and_rank_fit(done):
    out = done("generate helmholtz z.zarr --n 64 --quiet")
    assert "rows bitreversal, columns standard" in out
    assert re.search(r"rank +4 at tol=1e-06", out)
    assert "(1, 4, 16, 16) (4, 8, 8, 8)" in out
    assert "rank" not in done("generate dft y.zarr --n 64 --quiet")
    values = done("generate legendre x.zarr --n 256 --quiet --json")
    assert (values["rank"], values["tol"]) == (12, 1e-6)


def test_generate_noise_and_shuffles_from_one_seed(done):
    for store in ("a.zarr", "b.zarr"):
        done(f"generate hadamard {store} --n 32 --noise 0.1 --shuffle --seed 5 --quiet")
    first, second = (zarr.open_array(store, mode="r")[:] for store in ("a.zarr", "b.zarr"))
    np.testing.assert_array_equal(first, second)
    distance = np.linalg.norm(np.sort(first, axis=None) - np.sort(np.asarray(dbf.matrices.hadamard(32)), axis=None))
    assert 0 < distance < 0.2 * 32
    assert not np.array_equal(np.sign(first), dbf.matrices.hadamard(32))


def test_generate_replaces_only_when_asked(done, run):
    done("generate dft z.zarr --n 4 --quiet")
    refused(run("generate dft z.zarr --n 8 --quiet"), "already holds a Zarr array")
    out = done("generate dft z.zarr --n 8 --overwrite")
    assert "8 x 8 complex128" in out
    assert zarr.open_array("z.zarr", mode="r").shape == (8, 8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dft z.zarr", "--n N"),
        ("dft z.zarr --n 4 --shape 4,4", "--n N"),
        ("dft z.zarr --shape 4,4", "dft matrices are square"),
        ("gaussian z.zarr --shape 4", "--shape '4' is not two integers"),
        ("hadamard z.zarr --n 12", "n=12 is not a power of two"),
        ("dft z.zarr --n 4 --dtype float64", "a Fourier matrix is complex"),
        ("dft z.zarr --n 4 --seed -1", "Invalid value for '--seed'"),
        ("dft z.zarr --n 4 --chunks 0,4", "chunks="),
    ],
)
def test_generate_refuses(run, tmp_path, line, message):
    refused(run(f"generate {line}"), message)
    assert not list(tmp_path.iterdir())


# ---- plan


def test_plan_prints_what_the_interface_gives(done):
    np.save("z.npy", np.zeros((16, 16)))
    options = "--memory 1GiB --workers 2"
    planned = dbf.plan("z.npy", memory="1GiB", workers=2)
    assert done(f"plan z.npy {options}") == f"{planned}\n"
    assert done(f"plan z.npy {options} --json") == json.loads(json.dumps(planned.to_json()))
    timed = done(f"plan z.npy {options} --read-bandwidth 500MB/s --json")
    assert (timed["read_bandwidth"], timed["seconds"]) == (5e8, planned.seconds(5e8))
    assert "predicted" in done(f"plan z.npy {options} --read-bandwidth 500MB/s")
    assert "never measured: tiles" in done(f"plan z.npy {options} --backend cupy --device h100")
    on_device = done(f"plan z.npy {options} --backend cupy --json")
    assert on_device["device"]["name"] == "a100"
    assert on_device["device"]["measured"] is False
    assert sum(on_device["stage_seconds"].values()) == on_device["seconds"]
    assert on_device["budget"]["device_memory"] == int(0.8 * 40e9)
    smaller = done(f"plan z.npy {options} --backend cupy --device-memory 64MiB --json")
    assert smaller["device_peak_bytes"] < smaller["budget"]["device_memory"] == 64 << 20


@pytest.mark.parametrize(
    ("option", "chain"),
    [
        ("", dbf.Chain.square_dyadic(8)),
        ("--chain dyadic", dbf.Chain.square_dyadic(8)),
        ("--chain chainable", dbf.Chain.chainable((8, 8))),
        ("--chain monarch", dbf.Chain.monarch((8, 8))),
        ("--chain monarch:4,2", dbf.Chain.monarch((8, 8), 4, 2)),
        ("--chain '1,2,2,4;2,2,2,2;4,2,2,1'", dbf.Chain.square_dyadic(8)),
        ("--chain '[[1, 4, 2, 2], [2, 2, 4, 1]]'", dbf.Chain.monarch((8, 8), 4, 2)),
    ],
)
def test_chains(done, option, chain):
    np.save("z.npy", np.zeros((8, 8)))
    assert done(f"plan z.npy --json {option}")["chain"] == [list(pattern) for pattern in chain]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("balanced", "balanced"),
        ("left", "left"),
        ("[[0,1],[2,3]]", "balanced"),
        ("[[[0,1],2],3]", "right"),
    ],
)
def test_trees(done, given, shown):
    np.save("z.npy", np.zeros((16, 16)))
    assert shown in done(f"plan z.npy --json --tree {given}")["tree"]


def test_orderings(done):
    np.save("z.npy", np.zeros((16, 16)))
    np.save("cols.npy", np.arange(16)[::-1])
    assert done("plan z.npy --json")["orderings"] == "rows standard, columns standard"
    described = done("plan z.npy --json --orderings bitreversal,cols.npy")["orderings"]
    assert described == "rows bitreversal, columns permuted (16 indices)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--chain haar", "--chain 'haar' is unknown; use dyadic"),
        ("--chain 1,2,2", "is not four positive integers"),
        ("--chain monarch:3", "--chain monarch: '3' is not two integers"),
        ("--chain monarch:3,4", "p=3 does not divide 8"),
        ("--chain dyadic --rank 2", "rank=2 goes with the default chain"),
        ("--tree up", "tree='up' is unknown"),
        ("--tree [[0,1]", "is no JSON"),
        ("--orderings bitreversal", "is not ROWS,COLS"),
        ("--orderings none,up", "cols='up' is unknown"),
        ("--orderings none,lost.npy", "'lost.npy' does not exist"),
        ("--orderings none,short.npy", "cols is not a permutation"),
        ("--memory lots", "memory='lots' is not a positive number of bytes"),
        ("--memory 1B", "the least that works is memory="),
        ("--workers 0", "workers=0 is not a positive"),
        ("--passes 3", "passes=3 is not possible"),
        ("--read-bandwidth fast", "--read-bandwidth 'fast'"),
        ("--backend cupy --device tpu", "device='tpu' is not known"),
        ("--backend jax", "--backend='jax' has no prediction"),
    ],
)
def test_plan_refuses(run, options, message):
    np.save("z.npy", np.zeros((8, 8)))
    np.save("short.npy", np.arange(3))
    refused(run(f"plan z.npy {options}"), message)


# ---- factorize, apply, verify, info


@pytest.mark.slow
def test_a_useless_result_says_so(done, tmp_path):
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).standard_normal((64, 64)))
    np.save(tmp_path / "fourier.npy", np.fft.fft(np.eye(64)))
    assert "verdict       Useless: no product of this chain comes closer" in done("factorize noise.npy run.zarr")
    assert "verdict" not in done("factorize fourier.npy other.zarr --orderings none,bitreversal")


@pytest.mark.slow
def test_advise(done, run):
    done("generate dft z.zarr --n 128 --noise 0.01 --seed 1")
    text = done("advise z.zarr")
    command = re.search(
        r"^call +(dbutterfly factorize z.zarr run.zarr --orderings none,bitreversal)$", text, re.MULTILINE
    )
    assert command is not None
    assert re.search(r"^none,bitreversal +1 .*\*$", text, re.MULTILINE)
    found = done("advise z.zarr --tol 0.02 --json")
    assert (found["fits"], found["best"]["rank"], found["bytes_allowed"]) == (True, 1, 1 << 26)
    assert found["command"] == "dbutterfly factorize z.zarr run.zarr --orderings none,bitreversal --tol 0.02"
    done(command[1].removeprefix("dbutterfly "))
    taken = done("factorize z.zarr auto.zarr --orderings auto --tol 0.02 --no-check --json")
    assert taken["orderings"] == "rows standard, columns bitreversal"
    refused(run("advise z.zarr --read 1KiB"), "less than a chunk .*; allow 8192 bytes at least")


@pytest.mark.slow
def test_advise_with_points_and_for_a_chain(done):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 128))
    distance = np.sqrt(1 + (x[:, None] - y) ** 2)
    np.save("z.npy", np.exp(80j * distance) / distance)
    np.save("x.npy", x)
    np.save("y.npy", y)
    command = done("advise z.npy --row-points x.npy --col-points y.npy --json")["command"]
    assert "--row-points x.npy --col-points y.npy" in command
    done(command.removeprefix("dbutterfly "))


def test_advise_says_that_nothing_fits(run):
    np.save("z.npy", np.random.default_rng(0).standard_normal((128, 128)))
    code, out, err = run("advise z.npy")
    assert (code, err) == (3, "")
    assert "No butterfly of these orderings fits" in out
    assert "dbutterfly factorize" not in out


def test_factorize_apply_verify_info(done, run):
    done("generate dft z.zarr --n 64 --noise 0.01 --quiet")
    code, out, err = run("factorize z.zarr run.zarr --workers 2", *FOURIER)
    assert code == 0
    assert "root cut" in err
    assert "tiles" in err
    assert re.search(r"^certificate +error bound 0\.00\d+", out, re.MULTILINE)
    assert re.search(r"^factors +6, .*: 5\.3 times smaller$", out, re.MULTILINE)
    found, z = dbf.open("run.zarr"), zarr.open_array("z.zarr", mode="r")[:]

    info = done("info run.zarr --json")
    assert info["certificate"]["error_bound"] == found.certificate.error_bound
    assert info["chain"] == [list(pattern) for pattern in found.chain]
    assert info["record"]["stages"]["tiles"]["tasks"] >= 1
    assert done("info run.zarr") == out

    error = np.linalg.norm(z - found.operator.to_dense()) / np.linalg.norm(z)
    verified = done("verify run.zarr z.zarr --json --quiet")
    assert verified["error"] == pytest.approx(error)
    assert verified["exact"]
    sampled = done("verify run.zarr z.zarr --samples 16 --seed 2 --json --quiet")
    assert (sampled["samples"], sampled["exact"]) == (16, False)
    assert sampled["error"] == pytest.approx(error, abs=5 * sampled["deviation"])

    for option, matrix in (("", z), ("--transpose", z.T), ("--adjoint", z.conj().T)):
        for shape in ((64,), (64, 3)):
            x = np.random.default_rng(0).standard_normal(shape)
            np.save("x.npy", x)
            done(f"apply run.zarr x.npy y.npy --overwrite {option}")
            assert np.linalg.norm(np.load("y.npy") - matrix @ x) < 0.02 * 8 * np.linalg.norm(x)
    product = done("apply run.zarr z.zarr y.npy --adjoint --json --overwrite")
    assert (product["shape"], product["dtype"]) == ([64, 64], "complex128")
    assert "by blocks of 64 columns" in done("apply run.zarr z.zarr y.zarr --adjoint --memory 1MiB --workers 2 --quiet")
    np.testing.assert_allclose(zarr.open_array("y.zarr")[:], np.load("y.npy"))
    found.operator.H.save("adjoint.npz")
    done("apply adjoint.npz z.zarr y.zarr --overwrite --json --quiet")
    np.testing.assert_allclose(zarr.open_array("y.zarr")[:], np.load("y.npy"))


def test_quiet_says_nothing_but_results(run):
    np.save("z.npy", np.eye(16))
    code, out, err = run("factorize z.npy run.zarr --quiet --tol 1 --json")
    assert (code, err) == (0, "")
    assert strict_json(out)["verified"]["exact"]


def test_infinities_are_null_in_json(done):
    np.save("z.npy", np.asarray(dbf.matrices.hadamard(16)))
    assert done("factorize z.npy run.zarr --quiet --json")["certificate"]["ratio"] is None


def test_apply_to_a_zarr_vector_under_exactly_the_name_given(done, tmp_path):
    np.save("z.npy", np.asarray(dbf.matrices.hadamard(16)))
    done("factorize z.npy run.zarr --quiet --sweeps converged")
    zarr.create_array("x.zarr", data=np.ones(16))
    done("apply run.zarr x.zarr product")
    np.testing.assert_allclose(np.load(tmp_path / "product"), [16.0] + 15 * [0.0], atol=1e-12)
    assert not list(tmp_path.glob("*unfinished*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("apply run.zarr z.npy y.npy --adjoint --transpose", "exclude each other"),
        ("apply run.zarr lost.npy y.npy", "'lost.npy' does not exist"),
        ("apply run.zarr text.npy y.npy", "'text.npy' is no readable .npy file"),
        ("apply run.zarr run.zarr y.npy", "holds no readable Zarr array"),
        ("apply run.zarr short.npy y.npy", r"short.npy has shape \(3,\); a 16 x 16 operator takes 16 rows"),
        ("apply run.zarr z.npy no/where/y.npy", "'no/where/y.npy' cannot be written"),
        ("apply lost.zarr z.npy y.npy", "holds no dbutterfly factorization"),
        ("apply run.zarr z.npy run.zarr --overwrite", "which is read; nothing was changed"),
        ("apply run.zarr z.npy new.zarr --memory 1KiB", "does not hold a block of one column"),
        ("verify run.zarr short.npy", "1 dimension"),
        ("verify run.zarr other.npy --quiet", "source has shape"),
        ("verify run.zarr z.npy --samples 0 --quiet", "samples=0 is not positive"),
        ("info z.npy", "z.npy"),
        ("factorize other.npy run.zarr --quiet", "another matrix"),
        ("factorize nan.npy nan.zarr --quiet", "NaN"),
        ("factorize z.npy new.zarr --backend abacus --quiet", "backend='abacus' is unknown"),
    ],
)
def test_refusals(run, done, line, message):
    np.save("z.npy", np.eye(16))
    np.save("other.npy", np.eye(8))
    np.save("nan.npy", np.full((8, 8), np.nan))
    np.save("short.npy", np.zeros(3))
    Path("text.npy").write_text("no numbers")
    done("factorize z.npy run.zarr --quiet")
    refused(run(line), message)
    assert not Path("y.npy").exists()


@pytest.mark.parametrize("samples", ["", "--samples 8"])
def test_an_error_above_the_tolerance(run, done, samples):
    np.save("z.npy", np.random.default_rng(0).standard_normal((16, 16)))
    code, out, err = run("factorize z.npy run.zarr --quiet --chain chainable --tol 0.1")
    assert code == 3
    assert re.search(r"^verified +error 0\.\d+ \(exact\)$", out, re.MULTILINE)
    assert re.fullmatch(r"error: the verified error 0\.\d+ is above --tol 0\.1\n", err)
    code, out, err = run(f"verify run.zarr z.npy --tol 0.1 --json --quiet {samples}")
    assert code == 3
    assert strict_json(out)["error"] > 0.1
    assert "above --tol 0.1" in err
    assert done(f"verify run.zarr z.npy --tol 1 --quiet {samples}").startswith("verified")


@pytest.mark.slow
def test_a_finished_store_is_returned_unless_it_is_not_to_be_resumed(done):
    np.save("z.npy", np.eye(16))
    first = done("factorize z.npy run.zarr --quiet --json")["record"]
    again = done("factorize z.npy run.zarr --quiet --json")["record"]
    assert again.pop("matrix_check") == "nothing in its storage has changed since the run began"
    assert again == first
    assert done("factorize z.npy run.zarr --quiet --no-resume --json")["record"] != first


@pytest.mark.slow
def test_on_a_dask_cluster(done, client):
    done("generate dft z.zarr --n 64 --quiet")
    at = f"--cluster {client.scheduler.address} --quiet"
    values = done(f"factorize z.zarr run.zarr {at} --tol 1e-10 --json", *FOURIER)
    assert values["record"]["engine"] == "ClusterEngine"
    assert values["verified"]["error"] < 1e-12
    assert done(f"verify run.zarr z.zarr {at} --json")["error"] < 1e-12


def test_a_cluster_is_shown_and_checked(done, run):
    require("dask_jobqueue", "slurm")
    assert "#SBATCH -t 02:00:00" in done("cluster slurm --cluster-option walltime=02:00:00 --cluster-option threads=2")
    assert "replicas: 5" in done("cluster kubernetes --workers 5")
    assert done("cluster tcp://127.0.0.1:1") == "the Dask scheduler at tcp://127.0.0.1:1\n"
    refused(run("cluster lokal"), "cluster='lokal' is unknown; use one of threads, local")
    refused(
        run("cluster local --cluster-option thread=2"), r"local\.thread is no option of local; did you mean threads"
    )
    refused(run("cluster local --cluster-option threads"), "'threads' is not KEY=VALUE")
    refused(run("cluster local --cluster-option threads=999 --check"), "threads=999 each are more than")
    refused(run("cluster threads --tls temporary --check"), "has nothing to protect")


@pytest.mark.slow
def test_options_of_a_cluster_are_taken(done, run):
    require("cryptography", "tls")
    np.save("z.npy", np.eye(16))
    at = "--quiet --cluster local --workers 1 --tls temporary --cluster-option memory=1GiB"
    found = done(f"factorize z.npy run.zarr {at} --verify --json")
    assert found["verified"]["error"] < 1e-12
    refused(run(f"verify run.zarr z.npy {at} --memory 2GiB"), "memory=2147483648 is more than the 1073741824 bytes")
    refused(run("verify run.zarr z.npy --cluster local --cluster-option workers=no"), "workers='no' is not a positive")


@pytest.mark.slow
def test_a_plan_for_a_cluster_is_that_of_its_run(done, run, monkeypatch):
    np.save("z.npy", np.eye(64))
    at = "--cluster local --workers 1 --cluster-option threads=2 --cluster-option memory=1GiB"
    with monkeypatch.context() as patch:
        patch.setattr(Local, "started", None)
        planned = done(f"plan z.npy {at} --json")
        assert planned["budget"] == {"memory": int(0.55 * 2**29), "workers": 2, "device_memory": None}
        refused(run(f"plan z.npy {at} --memory 600MiB"), "is more than the 536870912 bytes of a worker's limit")
        refused(run("plan z.npy --cluster local --cluster-option threads=999"), "threads=999 each are more than")
        refused(run("plan z.npy --cluster threads --tls temporary"), "has nothing to protect")
    done(f"factorize z.npy run.zarr {at} --quiet")
    assert planned == done("info run.zarr --json")["record"]["plan"]


def test_a_plan_for_a_scheduler_that_runs(done, client):
    np.save("z.npy", np.eye(64))
    limit = min(info["memory_limit"] for info in client.scheduler_info()["workers"].values())
    found = done(f"plan z.npy --cluster {client.scheduler.address} --json")
    assert found["budget"] == {"memory": int(0.55 * limit), "workers": 2, "device_memory": None}


def test_a_scheduler_that_cannot_be_reached(run):
    np.save("z.npy", np.eye(8))
    refused(run("plan z.npy --cluster nowhere://1"), "no Dask scheduler can be reached at 'nowhere://1'")
    refused(run("factorize z.npy run.zarr --cluster nowhere://1"), "no Dask scheduler can be reached at 'nowhere://1'")


@pytest.mark.slow
@pytest.mark.parametrize(("end", "deaf"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_run_that_is_ended_keeps_finished_tasks_and_the_same_command_resumes(done, tmp_path, end, deaf):
    done("generate dft z.zarr --n 128 --chunks 8,128 --quiet")
    with pytest.raises(MemoryBudgetError) as refusal:
        dbf.plan("z.zarr", orderings=(None, "bitreversal"), memory=1, workers=1)
    least = int(re.search(r"the least that works is memory=(\d+)", str(refusal.value)).group(1))  # hence many tiles
    line = ["factorize", "z.zarr", "run.zarr", *FOURIER, "--workers", "1", "--memory", f"{least}"]
    gate = tmp_path / "gate"
    gate.touch()
    command = [sys.executable, "-m", "tests.support.held_program", str(gate), "2", *line]
    if deaf:  # as in the background of a script
        command = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": surroundings()}
    with subprocess.Popen(command, **pipes) as started:
        wait_until(lambda: started.poll() is not None or held(gate), what="the run is held in its middle")
        started.send_signal(end)
        gate.unlink()
        out, err = started.communicate(timeout=PATIENCE)
    assert (started.returncode, out) == (1, "")
    assert "finished tasks are kept in run.zarr, and the same command resumes" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert process(*line, "--quiet").returncode == 0
    tiles = done("info run.zarr --json")["record"]["stages"]["tiles"]
    assert tiles["resumed"] > 0
    assert tiles["tasks"] > 0
    assert done("verify run.zarr z.zarr --quiet --json")["error"] < 1e-13


@pytest.mark.slow
def test_missing_chunks_are_said_or_refused(run, done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("generate orthogonal z.zarr --n 64 --chunks 16,16 --quiet")
    (tmp_path / "z.zarr" / "c" / "1" / "2").unlink()
    assert "1 of 16 chunks are not in the store" in done("plan z.zarr")
    refused(run("factorize z.zarr run.zarr --quiet --missing error"), r"1 of 16 chunks are not stored: c/1/2; restore")
    assert not (tmp_path / "run.zarr").exists()
    with pytest.warns(MissingChunksWarning, match=r"the first being c/1/2"):
        out = done("factorize z.zarr run.zarr --quiet")
    assert re.search(r"^missing +1 of 16 chunks, taken as the fill value$", out, re.M)
    assert done("info run.zarr --json")["record"]["plan"]["chunks"] == {"count": 16, "missing": 1}


def test_an_unfinished_run_says_how_far_it_is(run, done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("generate orthogonal z.zarr --n 64 --chunks 16,16 --quiet")
    (tmp_path / "z.zarr" / "c" / "3" / "3").write_bytes(b"short")
    refused(run("factorize z.zarr run.zarr --quiet --workers 1"), r"c/3/3")
    refused(run("info run.zarr"), r"has not ended \(\d+ of \d+ tiles, 0 of \d+ left, 0 of \d+ right done\)")


@pytest.mark.slow
def test_orderings_are_identified_and_used(done, run, tmp_path):
    hidden = dbf.matrices.shuffled(dbf.matrices.orthogonal_butterfly(16, seed=1), seed=2)
    np.save("z.npy", np.asarray(dbf.matrices.noisy(hidden, 0.1, seed=3)))
    values = done("identify z.npy rows.npy cols.npy --workers 1 --json")
    assert values["found"]
    assert values["levels"] == [1, 2, 3]
    assert sorted(np.load("rows.npy")) == list(range(16))
    refused(run("identify z.npy rows.npy cols.npy"), "already exists; pass --overwrite to replace it")
    lines = done("identify z.npy rows.npy cols.npy --workers 1 --overwrite")
    assert re.search(r"^cut 2 +residual 0\.0\d+, 0\.0\d+ if the noise were all$", lines, re.MULTILINE)
    assert done("factorize z.npy run.zarr --orderings rows.npy,cols.npy --quiet --tol 0.1")
    assert done("factorize z.npy other.zarr --orderings identify --quiet --tol 0.1")
    one_side = done("identify z.npy rows.npy new.npy --orderings rows.npy,identify --json")
    assert one_side["found"]


@pytest.mark.slow
def test_orderings_that_are_not_there(run):
    np.save("z.npy", np.random.default_rng(0).standard_normal((32, 32)))
    code, out, _ = run("identify z.npy rows.npy cols.npy --budget 1")
    assert code == 3
    assert "NOT found" in out
    assert sorted(np.load("cols.npy")) == list(range(32))
    refused(run("identify z.npy r.npy c.npy --levels two"), "--levels 'two' is no list of integers")
    refused(run("identify z.npy r.npy c.npy --method guess"), "method='guess' is unknown")


# ---------------------------------------------------------------- watching a run


@pytest.mark.slow
def test_a_report_is_saved_at_once_or_later(run, done):
    done("generate orthogonal z.zarr --n 64 --noise 0.1")
    assert run("factorize z.zarr run.zarr --quiet --report first.html")[0] == 0
    code, out, err = run("report run.zarr second.html")
    assert (code, out, err) == (0, "written: second.html\n", "")
    assert Path("first.html").read_text() == Path("second.html").read_text()
    refused(run("report run.zarr no/where.html"), "report 'no/where.html' cannot be written")
    refused(run("report nothing.zarr third.html"), "holds no dbutterfly factorization")


def test_a_log_of_json_lines(run, done):
    done("generate orthogonal z.zarr --n 64 --noise 0.1")
    code, out, err = run("factorize z.zarr run.zarr --log-json --json")
    assert code == 0
    assert json.loads(out)["store"] == "run.zarr"
    entries = [json.loads(line) for line in err.splitlines()]
    assert [entry.get("event") for entry in entries] == ["plan", "stage", "stage", "stage"]
    assert entries[1]["gb_per_s"] > 0
    code, out, err = run("factorize z.zarr run.zarr --log-json --rank 2")
    assert (code, out) == (2, "")
    [entry] = [entry for entry in map(json.loads, err.splitlines()) if entry["level"] == "error"]
    assert "store=" in entry["message"]


@pytest.mark.slow
def test_people_read_a_line_for_each_stage(run, done):
    done("generate orthogonal z.zarr --n 64 --noise 0.1")
    _, _, err = run("factorize z.zarr run.zarr")
    assert re.search(r"^tiles: \d+ tasks in [\d.]+ s, .* read, [\d.]+ GB/s$", err, re.MULTILINE)
    assert re.search(r"^right: \d+ tasks in [\d.]+ s$", err, re.MULTILINE)


# ---------------------------------------------------------------- what is read and what is written


@pytest.mark.slow
def test_what_is_read_is_never_written_over(done, run, tmp_path):
    done("generate orthogonal z.zarr --n 16 --quiet")
    done("factorize z.zarr run --quiet")
    np.save("x.npy", np.eye(16))
    dbf.open("run").operator.save("op.npz")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for line in (
        "apply run z.zarr z.zarr --overwrite",
        "apply run x.npy x.npy --overwrite",
        "apply op.npz x.npy op.npz --overwrite",
        "apply run x.npy run/zarr.json --overwrite",
        "apply run z.zarr ./run/../z.zarr/y.npy",
        "factorize z.zarr z.zarr/run",
        "factorize z.zarr new --report z.zarr/report.html",
        "factorize x.npy new --report x.npy",
        "factorize x.npy new --report new",
        "identify x.npy x.npy cols.npy --overwrite",
        "identify x.npy both.npy ./both.npy",
    ):
        refused(run(line), r"which is read; nothing was changed")
    for line, message in (
        ("generate dft run --n 8 --overwrite", "which is never replaced by an array"),
        ("apply run x.npy op.npz --overwrite", r"holds something that is not a \.npy file"),
        ("factorize x.npy new --report op.npz", "holds something that is not a report"),
        ("factorize x.npy new --report no/where.html", "'no/where.html' cannot be written"),
    ):
        refused(run(line), message)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    done("factorize x.npy new --quiet --report new/report.html")


def test_messages_name_the_options_of_the_program(done, run):
    done("generate dft z.zarr --n 4 --quiet")
    refused(run("generate dft z.zarr --n 8 --quiet"), "pass --overwrite to replace it")
    done("factorize z.zarr run --quiet")
    np.save("x.npy", np.ones(4))
    done("apply run x.npy y.npy")
    refused(run("apply run x.npy y.npy"), "pass --overwrite to replace it")
    done("apply run x.npy y.npy --overwrite")


def test_places_are_read_as_the_library_reads_them(done, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    done("generate dft ~/z.zarr --n 4 --quiet")
    done(f"factorize ~/z.zarr file://{tmp_path}/my%20run --quiet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "my run"]
    assert dbf.open(tmp_path / "my run").shape == (4, 4)
    refused(run("factorize ~/z.zarr s3:/bucket/run"), "write s3://bucket/run")
