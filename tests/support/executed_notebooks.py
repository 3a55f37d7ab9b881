"""Run notebooks one after the other in one kernel, which forgets all names between them; run with ``-m``.

The last line is JSON: for each notebook, the outputs of its cells of code, by the names of these cells.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support.patience import PATIENCE

FORGET = "%reset -f"


def executed(paths: list[Path]) -> list[dict[str, list[dict[str, Any]]]]:
    """Outputs of all cells of each notebook; an error of a cell is raised, and shows the cell."""
    given, cells = [nbformat.read(path, as_version=4) for path in paths], []
    for notebook in given:
        cells += [*notebook.cells, nbformat.v4.new_code_cell(FORGET)]
    together = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(together, timeout=int(PATIENCE), startup_timeout=int(PATIENCE), kernel_name="python3").execute()
    found, at = [], 0
    for notebook in given:
        part = together.cells[at : at + len(notebook.cells)]
        found.append({cell.id: cell.outputs for cell in part if cell.cell_type == "code"})
        at += len(notebook.cells) + 1
    return found


if __name__ == "__main__":
    print(json.dumps(executed([Path(path) for path in sys.argv[1:]])))
