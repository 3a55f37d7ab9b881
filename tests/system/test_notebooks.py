"""The notebooks run from top to bottom, show what they say, and are stored without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import require
from tests.support.recorded_examples import lines_that_differ

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
RECORDED = ROOT / "docs" / "notebooks" / "recorded"
NAMES = [path.stem for path in NOTEBOOKS]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Outputs of each cell, by notebook; one process and one kernel for all, since a kernel takes seconds to start."""
    require("nbclient", "test-notebooks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.executed_notebooks", *map(str, NOTEBOOKS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(NAMES, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.fixture(scope="module")
def outputs(cells) -> dict[str, list[dict[str, Any]]]:
    """Outputs of all cells, by notebook."""
    return {name: [output for found in by_cell.values() for output in found] for name, by_cell in cells.items()}


def shown(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    """What the outputs have of a kind."""
    return ["".join(output["data"][kind]) for output in outputs if kind in output.get("data", {})]


def test_they_show_verdicts_and_pictures_and_no_warnings(outputs):
    assert NAMES == ["quickstart", "reading_a_certificate", "unknown_orderings"]
    for name, found in outputs.items():
        assert [output["text"] for output in found if output["output_type"] == "stream"] == [], name
        assert shown(found, "image/png"), name
    html = {name: "\n".join(shown(found, "text/html")) for name, found in outputs.items()}
    assert re.search(r"misses the matrix by at most 4\.9\d % of its norm", html["quickstart"])
    assert html["unknown_orderings"].count("Useless: no product of this chain comes closer") == 1
    assert html["unknown_orderings"].count("Found: every cut leaves at most 0.0") == 1
    assert html["unknown_orderings"].count("Not found: the worst cut leaves") == 1
    assert html["reading_a_certificate"].count("Useless: ") == 1
    assert html["reading_a_certificate"].count("This is an estimate") == 1


def test_progress_is_one_display_which_needs_no_widgets(outputs):
    """Updates replace what is shown: the kernel has no ipywidgets, and nothing warns of that."""
    displays = [
        output
        for output in outputs["quickstart"]
        if "<progress" in "".join(output.get("data", {}).get("text/html", ""))
    ]
    assert len(displays) == 1
    (text,) = shown(displays, "text/plain")
    stages = [re.match(r"(\w+)  (\d+)/(\d+)  .*\d:\d\d:\d\d", line).groups() for line in text.splitlines()]
    assert [name for name, *_ in stages] == ["tiles", "left", "right"]
    assert all(done == tasks for _, done, tasks in stages)


def test_the_pages_of_the_site_show_what_the_cells_show(cells):
    for name, by_cell in cells.items():
        record = json.loads((RECORDED / f"{name}.json").read_text())
        assert list(record) == list(by_cell), f"python docs/notebooks/record.py, since {name} has other cells"
        for cell, found in by_cell.items():
            data = [output["data"] for output in found]
            assert [set(kept) for kept in record[cell]] == [set(one) for one in data], cell
            for kept, one in zip(record[cell], data, strict=True):
                if "<progress" not in "".join(one.get("text/html", "")):  # that has times
                    texts = (_comparable("".join(one["text/plain"])), _comparable(kept["text/plain"]))
                    assert lines_that_differ(*(text.splitlines() for text in texts)) == [], cell
            assert all((RECORDED / kept["image/png"]).exists() for kept in record[cell] if "image/png" in kept)


def _comparable(text: str) -> str:
    """Text with its numbers apart, without what a search tells of its attempts, whose number depends on the load."""
    text = re.sub(r"in [\d.]+ s, \d+ attempts?", "in some attempts", text)
    return re.sub(r"(NOT found.*), confidence [\d.]+", r"\1", text).replace("=", " ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_they_are_stored_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    assert [cell["source"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert path.stat().st_size < 10_000
