"""The benchmarks can be started, and their page shows what is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> str:
    """Run Python where the benchmarks are; its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_can_be_named():
    shown = run("-m", "benchmarks", "--help")
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert {"identification", "scaling", "scheduler", "apply", "peers"} <= modules
    assert all(name in shown for name in ("identification", "scaling", "scheduler", "apply", "peers"))


def test_the_page_shows_what_is_recorded():
    code = (
        "from benchmarks import harness, tables\n"
        "text = tables.README.read_text()\n"
        "recorded = [name for name in tables.TABLES if harness.recorded(name)]\n"
        "print(*(f'{name}:{tables.rendered(name) in text}' for name in recorded))\n"
    )
    assert "identification:True" in (found := run("-c", code).split())
    assert all(entry.endswith(":True") for entry in found)
