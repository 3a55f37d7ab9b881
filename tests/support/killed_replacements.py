"""A replacement in a process that kills itself at a given moment, run with ``-m`` and a specification in JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.matrices import writing
from dbutterfly.operator import streamed_product
from dbutterfly.storage import arrays, replacing, run_store
from tests.support.patience import PATIENCE

MOMENTS = ("while it is written", "when it is complete", "between the two renames", "before the old is deleted")
"""When the process dies."""

SIDE = 16


def matrix(seed: int) -> Any:
    """The matrix of one version: what the place holds tells which it is."""
    return np.asarray(dbf.matrices.orthogonal_butterfly(SIDE, seed=seed))


def write(what: str, place: Any, seed: int, *, overwrite: bool) -> None:
    """Write one version of something."""
    if what == "array":
        dbf.matrices.write(matrix(seed), place, chunks=(4, 4), overwrite=overwrite)
    elif what == "product":
        dbf.stream_product(dbf.factorize(matrix(seed)).operator, np.eye(SIDE), place, overwrite=overwrite)
    elif what == "factorization":
        dbf.factorize(matrix(seed)).save(place, overwrite=overwrite)
    else:
        dbf.factorize(matrix(seed)).operator.save(place, overwrite=overwrite)


def read(what: str, place: Any) -> Any:
    """Matrix of what is at a place."""
    if what in ("array", "product"):
        return dbf.factorize(place).operator.to_dense()
    return (dbf.open(place).operator if what == "factorization" else dbf.ButterflyOperator.load(place)).to_dense()


def die_while_replacing(what: str, place: Path, moment: str) -> None:
    """Replace the first version by the second one in a process that kills itself at a moment."""
    command = [sys.executable, "-m", __spec__.name, json.dumps([what, str(place), moment])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _set_trap(moment: str) -> None:
    if moment == MOMENTS[0]:
        arrays.write_range = streamed_product.write_range = _die  # type: ignore[attr-defined]
        run_store.RunStore.clean = _die  # type: ignore[method-assign]
        writing._fill = _die
        np.savez = _die
    elif moment == MOMENTS[1]:
        replacing._take_place = _die
    elif moment == MOMENTS[2]:
        replacing._exchange = lambda *_: False
        rename, count = os.rename, iter(range(9))
        os.rename = lambda *names: _die() if next(count) == 2 else rename(*names)
    else:
        shutil.rmtree = _die


def main() -> None:
    """Replace, and die."""
    what, place, moment = json.loads(sys.argv[1])
    _set_trap(moment)
    write(what, place, 1, overwrite=True)


if __name__ == "__main__":
    main()
