"""Record the notebooks: what each cell shows, for the pages of the site.

``python docs/notebooks/record.py`` runs them all, in the kernel of Jupyter. The tests run them again, and compare the
kind of thing that each cell shows, and the numbers in its text (``tests/system/test_notebooks.py``).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDED = HERE / "recorded"


def record() -> None:
    """Run all notebooks, and write what their cells show: HTML and text as JSON, pictures beside it."""
    notebooks = sorted(HERE.glob("*.ipynb"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.executed_notebooks", *map(str, notebooks)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    )
    RECORDED.mkdir(exist_ok=True)
    for notebook, cells in zip(notebooks, json.loads(done.stdout.splitlines()[-1]), strict=True):
        shown = {cell: [_kept(cell, output["data"]) for output in outputs] for cell, outputs in cells.items()}
        (RECORDED / f"{notebook.stem}.json").write_text(f"{json.dumps(shown, indent=1, ensure_ascii=False)}\n")


def _kept(cell: str, data: dict[str, Any]) -> dict[str, str]:
    """What is kept of an output: its texts, and the name of the file of its picture, of which a cell has one."""
    kept = {kind: "".join(data[kind]) for kind in ("text/html", "text/plain") if kind in data}
    if "image/png" in data:
        kept["image/png"] = f"{cell}.png"
        (RECORDED / f"{cell}.png").write_bytes(base64.b64decode(data["image/png"]))
    return kept


if __name__ == "__main__":
    record()
