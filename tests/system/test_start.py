"""What is imported when the package or the program starts, and what only when it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dbutterfly as dbf
from tests.support.patience import PATIENCE

HEAVY = {"numpy", "scipy", "zarr", "dask", "rich", "jinja2", "yaml", "numba", "xarray", "pandas", "matplotlib"}
OF_CLUSTERS = {"distributed", "dask.array", "dbutterfly.execution.dask_engine"}
OF_IDENTIFICATION = {"dbutterfly.identification.identify", "dbutterfly.identification.search", "scipy.optimize"}

RUN = """
import numpy as np, dbutterfly as dbf
assert {"factorize", "clusters", "open"} <= set(dir(dbf))
z = np.kron([[1.0, 2.0], [3.0, 4.0]], np.eye(8))
fact = dbf.factorize(z, store="run.zarr")
print(dbf.plan("z.npy"), dbf.verify(dbf.open("run.zarr"), z), dbf.Chain.square_dyadic(8))
with dbf.clusters.opened("threads", workers=2) as cluster:
    dbf.factorize(z, cluster=cluster)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import dbutterfly", HEAVY | {"typer"}),
        ("from dbutterfly.cli import main; main(['--version'])", HEAVY),
        ("from dbutterfly.cli import main; main(['--help'])", HEAVY),
        (RUN, OF_CLUSTERS | OF_IDENTIFICATION | {"typer", "rich", "numba", "xarray", "pandas", "matplotlib"}),
    ],
    ids=["import", "version", "help", "run"],
)
def test_what_is_not_used_is_not_imported(code, absent, tmp_path):
    """A run on threads does without Dask's scheduler and arrays, without bars, and without what finds orderings."""
    np.save(tmp_path / "z.npy", np.eye(16))
    told = f"{code}\nimport sys\nprint(sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse(Path(dbf.__file__).read_text())
    [declared] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen, found = {}, {name: getattr(dbf, name) for name in dbf.__all__}  # this imports the modules among them
    for node in declared.body:
        assert isinstance(node, ast.ImportFrom)
        package = importlib.import_module(f".{node.module}", "dbutterfly") if node.module else dbf
        seen |= {alias.asname or alias.name: getattr(package, alias.name) for alias in node.names}
    assert {*seen, "__version__"} == set(dbf.__all__) == set(dir(dbf))
    assert [name for name, value in seen.items() if found[name] is not value] == []
    with pytest.raises(AttributeError, match="module 'dbutterfly' has no attribute 'factorise'"):
        dbf.factorise  # noqa: B018
