"""What the manifest of a run says of its plan."""

import json

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.factorization.manifests import build_manifest, describe_factors, describe_matrix, layout_of, nest
from dbutterfly.planning.plan import Layout
from dbutterfly.sources.dispatch import as_source
from dbutterfly.storage.manifest import LAYOUT, Manifest


def test_the_stored_choices_are_those_of_the_layout():
    assert Layout._fields == LAYOUT


@pytest.mark.parametrize("passes", [1, 2])
def test_a_plan_is_continued_with_its_choices(passes):
    matrix = np.random.default_rng(0).standard_normal((64, 64))
    plan = dbf.plan(matrix, passes=passes)
    manifest = build_manifest(as_source(matrix), plan, tol=None, sweeps=0)
    again = Manifest.from_json(manifest.to_json())
    assert layout_of(again) == plan.layout
    assert (again.passes, again.tol, again.sweeps) == (passes, None, None)
    assert again.plan == plan.to_json()
    assert again.matrix == {**describe_matrix(as_source(matrix)), "orderings": {}}


def test_a_copy_in_the_layout_is_a_tuple_again():
    layout = Layout(3, 1, 2, 3, 4, True, (0, 2, 64))
    stored = Manifest.from_json(json.loads(json.dumps(Manifest(layout=layout._asdict()).to_json())))
    assert layout_of(stored) == layout
    assert isinstance(layout_of(stored).copy, tuple)


def test_a_run_of_a_version_without_compiled_kernels_is_continued_with_the_plain_ones():
    given = Manifest(layout=Layout(3, 1, 2, 3, 4, True, None, compiled=True)._asdict()).to_json()
    assert layout_of(Manifest.from_json(given)).compiled
    given["layout"].pop()
    assert not layout_of(Manifest.from_json(given)).compiled


def test_factors_are_described_without_a_run():
    chain = dbf.Chain.square_dyadic(8)
    orderings = dbf.Orderings(np.arange(8)[::-1], "bitreversal")
    manifest = describe_factors(chain, ((0, 1), 2), orderings, "float32")
    assert manifest.chain == [list(pattern) for pattern in chain]
    assert manifest.tree == [[0, 1], 2]
    assert manifest.orderings == {"rows": "array", "cols": "bitreversal"}
    assert (manifest.dtype, manifest.plan, manifest.layout) == ("float32", None, None)


def test_trees_are_nested_lists():
    assert nest(0) == 0
    assert nest((0, (1, 2))) == [0, [1, 2]]
