"""The manifest as a store keeps it: twice, each with a digest of its own, so that one can be restored from the other.

The first is an attribute of the run's group, the second one of the group ``manifest`` in it, which is written before
the first. A manifest without a digest is of a version that had no second one, and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, NamedTuple

import zarr
from zarr.storage import StorePath

from ..errors import StoreError
from .json_checks import ManifestError, check_depth
from .manifest import FORMAT, KEY, Manifest
from .places import is_remote, retry_at
from .present_store import expect_present
from .retries import as_store_error, may_pass, reason

__all__ = ["create_manifest", "find_manifest", "write_manifest"]

COPY = "manifest"
"""Name of the group that holds it again."""

LOOKS = 3
"""Times that a remote place is looked at before it is taken for empty. Not tuned."""

SEAL = "digest"
"""Entry of the JSON that is the digest of all others."""

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError)
"""What Zarr raises for metadata that are not what was written, besides errors of storage that may pass."""

_log = logging.getLogger("dbutterfly")


class Found(NamedTuple):
    """What is at one of the two places: the group and its manifest, or what is wrong; nothing where all is None."""

    group: zarr.Group | None = None
    manifest: Manifest | None = None
    fault: str | None = None


def find_manifest(place: Any, mode: Any, shown: str) -> tuple[zarr.Group, Manifest] | None:
    """Read the manifest of the run at a place, from its copy where need be; None where there is no run.

    Parameters
    ----------
    place : str or Zarr store
        The place.
    mode : {"r", "r+"}
        Whether to write: then a manifest that is damaged or lost is restored.
    shown : str
        What messages call the place.

    Raises
    ------
    StoreError
        If the place cannot be read, both manifests are damaged, or the run was written by a later version.
    """
    for _ in range(LOOKS if is_remote(place) else 1):
        first = _read(place, "", mode, shown)
        if first.group is not None and first.manifest is not None:
            return first.group, first.manifest
        second = _read(place, COPY, mode, shown)
        if (first, second) != (Found(), Found()):
            break
    if second.group is None or second.manifest is None:
        if first.fault is None and second.fault is None:
            return None
        raise StoreError(
            f"store={shown} cannot be opened: its manifest is {first.fault or 'missing'} and the copy of it "
            f"{second.fault or 'missing'}; restore {'zarr.json'!r} there from a backup, or remove the store and begin "
            "anew"
        )
    if first.fault is None and is_remote(second.group):  # it exists, and the storage may find it when asked again
        first = _read(place, "", mode, shown, exists=True)
        if first.group is not None and first.manifest is not None:
            return first.group, first.manifest
    _log.warning("store=%s: its manifest is %s; its copy is used", shown, first.fault or "missing")
    store, path = second.group.store, second.group.path.removesuffix(COPY).rstrip("/")
    group = first.group or _group_at(store, path)
    if mode != "r":
        sealed = _seal(second.manifest)
        with as_store_error(f"store={shown}: its manifest is damaged and cannot be restored"):
            retry_at(store, "restore the manifest of", lambda: _put(group, sealed))
    return group, second.manifest


def create_manifest(place: Any, manifest: Manifest) -> zarr.Group:
    """Make the group of a run with its manifest, unless another call has made it at the same moment.

    Parameters
    ----------
    place : str or Zarr store
        The place, which is empty.
    manifest : Manifest
        The manifest of the run.
    """
    sealed = _seal(manifest)
    group = zarr.open_group(place, mode="a", zarr_format=3, attributes={KEY: sealed})
    if group.attrs.asdict().get(KEY) == sealed:  # not that of the other call, which goes on with its own
        _put(_copy_of(group), sealed)
    return group


def write_manifest(group: zarr.Group, manifest: Manifest) -> None:
    """Write the manifest of a run, the copy before the first."""
    sealed = _seal(manifest)
    _put(_copy_of(group), sealed)
    _put(group, sealed)


def _copy_of(group: zarr.Group) -> zarr.Group:
    return _group_at(group.store, f"{group.path}/{COPY}".lstrip("/"))


def _put(group: zarr.Group, sealed: dict[str, Any]) -> None:
    group.attrs[KEY] = sealed


def _seal(manifest: Manifest) -> dict[str, Any]:
    """JSON of a manifest, with its digest."""
    values = manifest.to_json()
    values.pop(SEAL, None)
    return {**values, SEAL: _digest(values)}


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps({name: value for name, value in values.items() if name != SEAL}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _group_at(store: Any, path: str) -> zarr.Group:
    """Group whose metadata are about to be written, whatever is there."""
    data: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    return zarr.Group(zarr.AsyncGroup.from_dict(StorePath(store, path), data))


def _read(place: Any, path: str, mode: Any, shown: str, *, exists: bool = False) -> Found:
    """Read one of the two."""

    def open_() -> zarr.Group:
        return zarr.open_group(place, path=path, mode=mode, zarr_format=3, use_consolidated=False)

    try:
        group = retry_at(place, "open", expect_present(open_) if exists else open_)
    except FileNotFoundError:
        return Found()
    except zarr.errors.ContainsArrayError:
        return Found(fault=None if path == "" else "an array")
    except Exception as error:
        if isinstance(error, DAMAGE) and not isinstance(error, OSError) and not may_pass(error):
            return Found(fault=f"damaged ({reason(error)})")
        raise StoreError(f"store={shown} cannot be opened: {reason(error)}") from error
    values = group.attrs.asdict().get(KEY)
    if not isinstance(values, dict) or "format" not in values:
        return Found(group)
    try:
        check_depth(values)
    except ManifestError as error:
        return Found(group, fault=f"damaged ({error})")
    is_whole = SEAL not in values or values[SEAL] == _digest(values)
    is_later = isinstance(values["format"], int) and values["format"] > FORMAT  # and may have a digest of another kind
    if is_later or (is_whole and values["format"] != FORMAT):
        raise StoreError(
            f"store={shown} has format {values['format']}, written by dbutterfly {values.get('version')}; this version "
            f"reads format {FORMAT}"
        )
    if not is_whole:
        return Found(group, fault="damaged (it does not fit its digest)")
    try:
        return Found(group, Manifest.from_json({name: value for name, value in values.items() if name != SEAL}))
    except ManifestError as error:
        return Found(group, fault=f"damaged ({error})")
