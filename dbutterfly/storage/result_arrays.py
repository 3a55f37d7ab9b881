"""The arrays of a result: factors, orderings, weights and trace.

Each is in one chunk, read whole and proven to be what was stored. Shape and dtype are compared with the manifest before
anything is read. What is read is compared with the digest that the manifest of a complete run has of it, which tells
apart arrays of other runs too; older manifests have none.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import CheckpointError, StoreError
from .codecs import CHECKSUM, FORMAT_3, own_codecs
from .manifest import OPERATOR, Manifest
from .manifest_checks import DTYPES, MOST_TASKS
from .places import retry_at
from .present_store import expect_present, through
from .retries import AbsentError, as_store_error, may_pass, reason

__all__ = [
    "STAMPS",
    "digest_of",
    "read_array",
    "read_factor",
    "read_side",
    "read_stamps",
    "read_trace",
    "read_weights",
    "write_array",
]

STAMPS = "stamps"
"""Array of the stamps of the matrix."""

MOST_CELLS = 1 << 20
"""Most cells of a map of residuals. Not tuned: it has 64 x 64."""

DIMENSIONS = {
    "rows": ["row"],
    "cols": ["col"],
    "stamps": ["row_piece", "col_piece"],
    "certificates": ["matrix", "measure"],
    "cuts": ["matrix", "cut"],
    "records": ["matrix", "word"],
    "tasks": ["task", "measure"],
    "table": ["block", "property"],
    "patterns": ["factor", "axis"],
    "errors": ["block", "measure"],
    "values": ["value"],
    "indices": ["index"],
    "residuals": ["row_part", "col_part"],
}
"""Names of the dimensions of the arrays that are no factors; those of a factor are its own, as factors differ."""

_log = logging.getLogger("dbutterfly")


def digest_of(values: NDArray[Any]) -> str:
    """Digest of the entries of an array."""
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).hexdigest()


def write_array(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    """Write an array, in one chunk; whatever has its place is replaced."""
    last = name.rpartition("/")[2]
    array = zarr.create_array(
        group.store,
        name=f"{group.path}/{name}".lstrip("/"),
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        compressors=CHECKSUM,
        dimension_names=DIMENSIONS.get(last, [f"{axis}_{last}" for axis in "abcd"]),
        fill_value=0,
        overwrite=True,
        **FORMAT_3 | {"config": {"order": "C", "write_empty_chunks": True}},
    )
    array[...] = values.copy()  # a store in memory keeps what it is given


def read_array(
    group: zarr.Group, manifest: Manifest, name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
) -> NDArray[Any]:
    """Read an array of a shape, and of one of some dtypes.

    Raises
    ------
    CheckpointError
        If it is missing or damaged.
    """
    return _read(group, manifest, name, shape, dtypes)


def read_factor(group: zarr.Group, manifest: Manifest, index: int) -> NDArray[Any]:
    """Read a factor.

    Raises
    ------
    CheckpointError
        If it is missing or damaged.
    """
    dtypes = DTYPES if manifest.dtype is None else (manifest.dtype,)
    return _read(group, manifest, f"factors/{index}", tuple(manifest.chain[index]), dtypes)


def read_side(group: zarr.Group, manifest: Manifest, name: str) -> NDArray[Any]:
    """Read the index array of the ``rows`` or ``cols``.

    Raises
    ------
    CheckpointError
        If it is missing or damaged, or no permutation.
    """
    (a, b, _, d), (a2, _, c2, d2) = manifest.chain[0], manifest.chain[-1]
    size = a * b * d if name == "rows" else a2 * c2 * d2
    found = _read(group, manifest, f"orderings/{name}", (size,), ("int64", "int32", "uint32", "uint64"))
    named = found[found != -1]  # at gaps, nothing belongs to a position
    if not named.size or not np.array_equal(np.sort(named), np.arange(named.size)):
        raise _damaged(group, manifest, f"orderings/{name}", "it is no permutation")
    return found


def read_weights(group: zarr.Group, manifest: Manifest, name: str, size: int) -> NDArray[Any]:
    """Read the weights of the ``rows`` or ``cols``, of which there are so many.

    Raises
    ------
    CheckpointError
        If they are missing or damaged, or not those that the manifest has the digest of.
    """
    found = _read(group, manifest, f"weights/{name}", (size,), ("float64",))
    if digest_of(found) != manifest.weights[name]:
        raise _damaged(group, manifest, f"weights/{name}", "they are not those of the run")
    return found


def read_trace(group: zarr.Group, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Read the trace; empty where there is none, and where it is damaged, which is logged."""
    digests, names = manifest.checksums, ("trace/tasks", "trace/residuals")
    try:
        if (names[0] not in digests) if digests is not None else not _is_there(group, names[0]):
            return {}
        return {name.partition("/")[2]: _read(group, manifest, name, None, ("float64",)) for name in names}
    except CheckpointError as error:
        _log.warning("%s; the report goes without what the tasks did", str(error).partition(";")[0])
        return {}


def read_stamps(group: zarr.Group, manifest: Manifest) -> NDArray[Any] | None:
    """Read the stamps of the matrix; None where the run has none, and where they are damaged, which is logged."""
    if manifest.identity is None or manifest.identity["stamps"] is None:
        return None
    try:
        stamps = _read(group, manifest, STAMPS, None, ("uint64",))
        if digest_of(stamps) != manifest.identity.get("digest"):
            raise _damaged(group, manifest, STAMPS, "they are not those that the run has stored")
        return stamps
    except CheckpointError as error:
        _log.warning("%s; the matrix is known by its sample", str(error).partition(";")[0])
        return None


def _is_there(group: zarr.Group, name: str) -> bool:
    def look() -> bool:
        try:
            _open(group, name)
        except FileNotFoundError:
            return False
        except Exception as error:
            if may_pass(error):
                raise
        return True

    with as_store_error(f"store={group.store_path} cannot be read"):
        return retry_at(group.store, f"open {name} of", look)


def _read(
    group: zarr.Group, manifest: Manifest, name: str, shape: tuple[int, ...] | None, dtypes: tuple[str, ...]
) -> NDArray[Any]:
    """Read an array of a shape, and of one of some dtypes; with shape None, of a trace."""

    def read() -> NDArray[Any]:
        array = expect_present(lambda: _open(group, name))()
        if (array.shape != shape if shape is not None else not _is_trace(array.shape)) or array.dtype not in dtypes:
            wanted = f"{'a trace' if shape is None else shape} and {dtypes[0]}"
            raise ValueError(f"it has shape {array.shape} and dtype {array.dtype}, where {wanted} must be")
        return np.asarray(through(array, lambda _: True)[...])

    with _as_damage(group, manifest, name):
        values = retry_at(group.store, f"read {name} of", read)
    digest = (manifest.checksums or {}).get(name)
    if digest is not None and digest != digest_of(values):
        raise _damaged(group, manifest, name, "it is not what the run has stored")
    return values


def _open(group: zarr.Group, name: str) -> zarr.Array[Any]:
    path = f"{group.path}/{name}".lstrip("/")
    with own_codecs():
        return zarr.open_array(group.store, path=path, mode="r", zarr_format=3, config={"order": "C"})


def _is_trace(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[1] <= MOST_CELLS and math.prod(shape) <= MOST_CELLS + 64 * MOST_TASKS


@contextlib.contextmanager
def _as_damage(group: zarr.Group, manifest: Manifest, name: str) -> Iterator[None]:
    """Tell what is missing or damaged from a storage that cannot be read."""
    try:
        yield
    except AbsentError as error:
        raise _damaged(group, manifest, name, "it is not there") from error
    except Exception as error:
        if isinstance(error, OSError) or may_pass(error):
            raise StoreError(f"store={group.store_path}: {name} cannot be read: {reason(error)}") from error
        raise _damaged(group, manifest, name, reason(error)) from error


def _damaged(group: zarr.Group, manifest: Manifest, name: str, why: str) -> CheckpointError:
    remedy = "call factorize with the matrix as before, which computes it again, or restore it from a backup"
    if manifest.kind == OPERATOR:
        remedy = "restore it from a backup, or save the operator anew"
    return CheckpointError(f"store={group.store_path}: {name} is missing or damaged: {why}; {remedy}", name, ())
