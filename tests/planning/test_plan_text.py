import json

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.chain import Chain

GIB = 1 << 30


def text_of(budget=None, chain=None, **kwargs):
    source = SourceInfo(**{"shape": (1024, 1024), "dtype": "float64", "work_dtype": "float64", **kwargs})
    plan = make_plan(source, chain, budget=budget or Budget(GIB))
    return plan, dict(line.split(maxsplit=1) for line in str(plan).splitlines())


def test_names_stand_in_a_column():
    plan, _ = text_of()
    assert all(len(line[:14].rstrip()) < 14 and line[14] != " " for line in str(plan).splitlines())


@pytest.mark.parametrize(
    ("kind", "line", "text", "note"),
    [
        ({}, "reads", "8.00 MiB, amplification 1.00", None),
        ({"sampled": True}, "evaluates", "of entries, ", "some entries of each block are evaluated"),
        ({"probed": True}, "multiplies", " vectors", "the operator is known by products with random vectors"),
        ({"chunk_count": 9, "missing_chunks": 2}, "reads", "8.00 MiB", "2 of 9 chunks are not in the store"),
    ],
)
def test_what_is_read_evaluated_or_multiplied(kind, line, text, note):
    plan, lines = text_of(**kind)
    assert {"reads", "evaluates", "multiplies"} & set(lines) == {line}
    assert text in lines[line]
    assert ("note" in lines) == (note is not None)
    if note is not None:
        assert lines["note"].startswith(note)
        assert [n for n in plan.to_json()["notes"] if n.startswith(note)]


def test_the_memory_of_a_device_has_its_line_only_where_it_is_known():
    _, lines = text_of()
    assert "device" not in lines
    plan, lines = text_of(Budget(GIB, 2, GIB))
    assert lines["device"].endswith("of its memory at the peak (1.00 GiB allowed)")
    assert plan.to_json()["budget"] == {"memory": GIB, "workers": 2, "device_memory": GIB}


def test_ranks_that_are_kept_are_told():
    source = SourceInfo(shape=(256, 256), dtype="float32", work_dtype="float32")
    plan = make_plan(source, Chain.chainable((256, 256), 2), budget=Budget(GIB), spare=2)
    assert " of rank 2, 4 kept" in str(plan)
    assert plan.to_json()["ranks"] == [2, 3, 4]


def test_json_says_what_the_plan_says():
    plan, _ = text_of()
    found = json.loads(json.dumps(plan.to_json()))
    for name in ("bytes_read", "bytes_written", "source_bytes", "peak_bytes", "device_peak_bytes", "passes"):
        assert found[name] == getattr(plan, name)
    assert found["tasks"] == plan.tasks
    assert found["shape"] == [1024, 1024]
    assert [tuple(pattern) for pattern in found["chain"]] == [tuple(pattern) for pattern in plan.chain]


def test_a_notebook_shows_a_plan_as_text():
    planned, shown = dbf.plan(np.eye(16)), []

    class Printer:
        text = staticmethod(shown.append)

    planned._repr_pretty_(Printer, False)
    assert shown == [str(planned)]
