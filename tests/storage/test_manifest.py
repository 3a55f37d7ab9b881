"""The manifest as a type, and as the JSON of format 2."""

import dataclasses
import json

import numpy as np
import pytest

from dbutterfly.storage.json_checks import ManifestError
from dbutterfly.storage.manifest import FORMAT, LAYOUT, OPERATOR, Manifest, index_arrays, name_sides

SUMMARY = {
    "tasks": 3,
    "resumed": 0,
    "seconds": 1.5,
    "bytes_read": 128,
    "load_seconds": 0.5,
    "compute_seconds": 1.0,
    "idle_bytes": 100,
    "peak_bytes": 200,
    "peak_beyond_idle": 100,
}
BATCH = {"numbers": [[0, 3], [5, 1]], "chain": [[1, 2, 2, 1]], "tree": 0, "orderings": {"rows": None, "cols": "array"}}
PLANNED = BATCH | {"per_task": 2, "peak_bytes": 1000}
FOUND = BATCH | {"dtype": "float32", "guarantee": 1.5}
RESULT = {"batches": [FOUND], "alone": [3], "failed": {"4": "NaN"}, "names": None, "shapes": [[2, 2, 6]]}
HIERARCHICAL_LAYOUT = {
    "eta": None,
    "leaf": 64,
    "symmetry": "none",
    "level": 1e-9,
    "sizes": [4096, None],
    "panel_bytes": 0,
    "prefetch": True,
    "looked_at": 100,
    "in_full": False,
}
FULL = Manifest(
    status="complete",
    epoch="0123abcd",
    version="0.1.0",
    dtype="float32",
    chain=[[1, 2, 2, 2], [2, 2, 2, 1]],
    tree=[0, 1],
    orderings={"rows": None, "cols": "array"},
    matrix={"shape": [4, 4], "dtype": "float32", "way": "read", "orderings": {}},
    weights={"rows": "0123", "cols": "4567"},
    exponent=-400,
    identity={"sample": {"places": [], "dtype": "float32", "values": "", "tolerance": 0.0}, "stamps": None},
    passes=2,
    out_of_reach=0.5,
    tol=1e-3,
    sweeps=4,
    rank=2,
    layout={
        "root": 1,
        "tile_rows": 2,
        "tile_cols": 4,
        "left_groups": 1,
        "right_groups": 2,
        "prefetch": True,
        "copy": [0, 2, 64],
        "compiled": True,
    },
    nested={"floor": 1e-6, "energy": 2.0, "capacities": [2], "task_entries": 1000},
    plan={
        "tasks": {"tiles": 3},
        "split": {"p": 2, "u": 2, "q": 2, "v": 2, "rank": 1},
        "notes": [],
        "chunks": {"count": 0, "missing": 0},
        "peak_bytes": 1000,
    },
    stages={"tiles": SUMMARY},
    identified={"found": True, "levels": [1], "residuals": [0.1], "floors": [0.2]},
    certificate={"error_bound": 0.5, "lower_bound": 0.25, "exact": False, "norm": 3.0},
    record={"engine": "ThreadEngine"},
    checksums={"factors/0": "00ff"},
    stack={"asked": {"rank": 1}, "rounds": [[PLANNED]]},
    hierarchical={"asked": {"leaf": 64}, "layout": HIERARCHICAL_LAYOUT},
    damaged="factors/0",
)


@pytest.mark.parametrize("manifest", [Manifest(), Manifest(kind=OPERATOR), FULL])
def test_it_goes_both_ways_through_json(manifest):
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_every_entry_that_is_set_is_kept():
    names = {field.name for field in dataclasses.fields(Manifest)} - {"others"}
    assert FULL.to_json().keys() == names | {"format"}
    assert FULL.to_json()["format"] == FORMAT


@pytest.mark.parametrize(
    "damaged",
    [
        {"rounds": [[PLANNED]]},
        {"asked": {}, "rounds": [[BATCH]]},
        {"asked": {}, "rounds": [[PLANNED | {"numbers": [[0, 10**18]]}]]},
        {"asked": {}, "rounds": [[PLANNED | {"chain": [[1, 2, 2, 0]]}]]},
        {"asked": {}, "rounds": [], "result": RESULT | {"batches": [BATCH]}},
        {"asked": {}, "rounds": [], "result": RESULT | {"failed": {"x": "NaN"}}},
        {"asked": {}, "rounds": [], "result": RESULT | {"shapes": [[2, 2, 10**18]]}},
    ],
)
def test_a_stack_is_checked(damaged):
    whole = FULL.to_json() | {"kind": "stack", "stack": {"asked": {}, "rounds": [[PLANNED]], "result": RESULT}}
    assert Manifest.from_json(whole).asked == {}
    with pytest.raises(ManifestError, match="stack"):
        Manifest.from_json(whole | {"stack": damaged})


def test_the_layout_is_the_list_of_the_format():
    assert FULL.to_json()["layout"] == [1, 2, 4, 1, 2, True, [0, 2, 64], True]


def test_what_is_not_set_is_left_out():
    assert Manifest(chain=[[1, 2, 2, 1]]).to_json() == {
        "format": FORMAT,
        "kind": "factorization",
        "status": "running",
        "chain": [[1, 2, 2, 1]],
        "orderings": {},
    }


def test_entries_of_other_versions_are_handed_on():
    values = {"format": FORMAT, "chain": [[1, 2, 2, 1]], "digests": [1, 2]}
    manifest = Manifest.from_json(values)
    assert manifest.others == {"digests": [1, 2]}
    assert dataclasses.replace(manifest, rank=3).to_json()["digests"] == [1, 2]


@pytest.mark.parametrize("null", ["tol", "sweeps", "rank", "stages"])
def test_an_entry_that_is_null_is_as_one_that_is_missing(null):
    assert Manifest.from_json(FULL.to_json() | {null: None}) == dataclasses.replace(FULL, **{null: None})


def test_matrices_have_two_sides():
    with pytest.raises(ManifestError, match="orderings"):
        Manifest.from_json(FULL.to_json() | {"orderings": {"": None}})


def test_tasks_and_rank_are_those_of_the_plan():
    assert (FULL.tasks, FULL.first_rank) == ({"tiles": 3}, 1)
    assert (Manifest().tasks, Manifest().first_rank) == ({}, None)
    assert dataclasses.replace(FULL, plan={**FULL.plan, "split": None}).first_rank is None


def test_it_is_complete_only_where_it_says_so():
    assert FULL.is_complete
    assert not Manifest().is_complete


def test_sides_are_named_and_index_arrays_are_apart():
    sides = {"rows": np.arange(3), "cols": "bitreversal"}
    assert name_sides(sides) == {"rows": "array", "cols": "bitreversal"}
    assert name_sides({"rows": None, "cols": None}) == {"rows": None, "cols": None}
    assert list(index_arrays(sides)) == ["rows"]
    assert LAYOUT[0] == "root"
