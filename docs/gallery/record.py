"""Record the examples: what they print, as the sessions of a terminal, and what they draw.

``python docs/gallery/record.py`` runs all of them, or those that are named. The tests run one command of each again,
and compare (``tests/system/test_examples.py``).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

RUNS = {
    "helmholtz": ["", "--n 128 256"],
    "transformer_weights": [""],
    "graph_fourier": ["", "--n 64"],
    "butterfly_trees": ["", "--n 4 --seed 1"],
    "unknown_orderings": ["", "--n 64 --seed 1"],
    "gaussian_process": ["", "--n 1024"],
}
"""Arguments of the runs of every example. The first run is drawn, too."""

PICTURES = {"unknown_orderings": "png"}
"""Formats of pictures that would be large as SVG."""


def record(name: str) -> None:
    """Record one example."""
    session = []
    for number, arguments in enumerate(RUNS[name]):
        command = ["examples/" + name + ".py", *arguments.split()]
        drawn = ["--plot", str(HERE / "recorded" / f"{name}.{PICTURES.get(name, 'svg')}")] if number == 0 else []
        done = subprocess.run(
            [sys.executable, *command, *drawn], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        session.append(f"$ python {' '.join(command)}\n{done.stdout}")
    (HERE / "recorded" / f"{name}.txt").write_text("\n".join(session))


if __name__ == "__main__":
    for wanted in sys.argv[1:] or RUNS:
        record(wanted)
